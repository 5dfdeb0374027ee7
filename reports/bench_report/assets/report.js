// What a page can do beyond reading: sort, filter, switch the measure, move a threshold, draw charts, save tables.
// Everything shown without it stays readable; controls are made here, so that none is dead without it.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const read = (element) => JSON.parse(element.textContent);
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
      else if (value !== null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const percent = (share) => (100 * share).toFixed(1);

  // -- saving ---------------------------------------------------------------------------------------------------------

  function save(text, type, name) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    const link = make("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  const visible = (element) => !element.closest("[hidden]");
  function cellText(cell) {
    const parts = [];
    const walk = (node) => {
      if (node.nodeType === Node.TEXT_NODE) parts.push(node.data);
      else if (node.nodeType === Node.ELEMENT_NODE && node.localName !== "svg" && !node.classList.contains("hidden")) {
        if (node.localName === "small") parts.push(" [");
        node.childNodes.forEach(walk);
        if (node.localName === "small") parts.push("]");
      }
    };
    walk(cell);
    return parts.join("").replace(/\s+/g, " ").trim();
  }
  // A rectangle of texts: cells that span several places are repeated in each.
  function grid(table) {
    const rows = [];
    const held = [];
    all("tr", table).filter(visible).forEach((row, y) => {
      rows[y] = rows[y] || [];
      let x = 0;
      for (const cell of [...row.cells].filter(visible)) {
        while (held[y] && held[y][x]) x++;
        for (let dy = 0; dy < cell.rowSpan; dy++)
          for (let dx = 0; dx < cell.colSpan; dx++) {
            (held[y + dy] = held[y + dy] || [])[x + dx] = true;
            (rows[y + dy] = rows[y + dy] || [])[x + dx] = cellText(cell);
          }
        x += cell.colSpan;
      }
    });
    return rows;
  }
  // A spreadsheet takes what begins so for a formula, unless it is a number (with its interval, or of points).
  const harmless = (text) =>
    /^[=+\-@＝＋－＠]/.test(text) && !/^[+-]?\d[\d.,]*( ?%)?( \[[^\]]*\])?$/.test(text) ? `'${text}` : text;
  const csv = (rows) =>
    rows.map((row) => row.map((text = "") => harmless(text)).map((text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)).join(",")).join("\n") + "\n";
  const TEX = { "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "−": "$-$", "–": "--",
    "±": "$\\pm$", "×": "$\\times$", "∞": "$\\infty$", "ε": "$\\varepsilon$", "★": "", "▲": "", "▼": "" };
  const tex = (text = "") => text.replace(/[\\&%$#_{}~^<>−–±×∞ε★▲▼]/g, (c) => TEX[c]);
  function latex(rows, heads) {
    const width = Math.max(...rows.map((row) => row.length));
    const line = (row) => "  " + Array.from({ length: width }, (_, n) => tex(row[n])).join(" & ") + " \\\\";
    return [`\\begin{tabular}{l${"r".repeat(width - 1)}}`, "  \\hline", ...rows.slice(0, heads).map(line), "  \\hline",
      ...rows.slice(heads).map(line), "  \\hline", "\\end{tabular}", ""].join("\n");
  }

  function tableButtons() {
    for (const table of all("table[data-table]")) {
      const frame = table.closest(".scroll");
      if (!frame) continue;
      const name = table.dataset.table;
      const heads = table.tHead ? table.tHead.rows.length : 1;
      const buttons = make("span", { class: "save" },
        make("button", { type: "button", on: { click: () => save(csv(grid(table)), "text/csv", `${name}.csv`) } }, "CSV"),
        make("button", { type: "button", on: { click: () => save(latex(grid(table), heads), "text/x-tex", `${name}.tex`) } }, "LaTeX"));
      const legend = frame.nextElementSibling;
      if (legend && legend.classList.contains("legend")) legend.append(buttons);
      else frame.after(buttons);
    }
  }

  // -- the matrix -----------------------------------------------------------------------------------------------------

  function sortable(table) {
    const body = table.tBodies[0];
    const heads = all("thead th", table).filter((head) => head.dataset.attack !== undefined);
    const first = one("thead th.corner", table);
    const original = [...body.rows];
    const number = (row, column) => Number(row.cells[column].dataset.value ?? NaN);
    const sort = (head, column) => {
      const old = head.getAttribute("aria-sort");
      all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
      if (column === 0 && old === "ascending") {
        body.append(...original);
        return;
      }
      // The first look at a column of numbers is for its strongest.
      const direction = column === 0 || old === "descending" ? "ascending" : "descending";
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      body.append(...[...body.rows].sort((a, b) => {
        if (column === 0) return a.dataset.defense.localeCompare(b.dataset.defense);
        const [x, y] = [number(a, column), number(b, column)];
        return Number.isNaN(x) - Number.isNaN(y) || sign * (x - y) || 0;
      }));
    };
    [[first, 0], ...heads.map((head, n) => [head, n + 1])].forEach(([head, column]) => {
      const button = make("button", { type: "button", class: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(head, column));
    });
    return () => {
      const head = one("th[aria-sort]", table);
      if (!head) return;
      const column = head === first ? 0 : heads.indexOf(head) + 1;
      head.setAttribute("aria-sort", head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
      if (column) sort(head, column);
    };
  }

  // Arrow keys go from cell to cell, as in any grid.
  function arrows(table) {
    table.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      const cell = event.target.closest("td");
      if (!steps || !cell || event.ctrlKey || event.altKey || event.metaKey) return;
      let [x, y] = [cell.cellIndex, cell.parentElement.sectionRowIndex];
      const rows = table.tBodies[0].rows;
      for (;;) {
        x += steps[0];
        y += steps[1];
        const next = rows[y] && rows[y].cells[x];
        if (!next || next.tagName !== "TD") return;
        const link = visible(next) && one("a", next);
        if (link) {
          event.preventDefault();
          link.focus();
          return;
        }
      }
    });
  }

  function text(value, unit) {
    return unit === "rate" ? percent(value) : unit === "area" ? value.toFixed(3) : String(Number(value.toPrecision(4)));
  }

  function matrix(section) {
    const tools = one(".tools", section);
    const options = read(one("script[data-options]", section));
    const blocks = all(".block", section).filter((block) => one("table", block)).map((block) => {
      const table = one("table", block);
      return { block, table, switched: read(one("script[data-switch]", block)), resort: sortable(table),
        kept: new Map(all("tbody td", table).map((cell) => [cell, { html: [...cell.childNodes], class: cell.className, value: cell.dataset.value }])) };
    });
    blocks.forEach(({ table }) => arrows(table));
    const tool = (name) => one(`[data-tool="${name}"]`, tools);
    for (const axis of ["dataset", "model", "knowledge"]) {
      const values = [...new Set(blocks.map(({ block }) => block.dataset[axis]))];
      values.forEach((value) => tool(axis).append(make("option", { value }, value || "no attack")));
      if (values.length < 2) tool(axis).parentElement.hidden = true;
    }
    for (const option of options)
      if (blocks.some(({ switched }) => option.key in switched))
        tool("measure").append(make("option", { value: option.key }, option.title));

    function show(key) {
      const option = options.find((known) => known.key === key);
      for (const { block, table, switched, kept } of blocks) {
        const rows = switched[key];
        all(".how", block).forEach((note) => (note.hidden = Boolean(key)));
        const title = one("figcaption .title", block);
        title.dataset.first ??= title.textContent;
        title.textContent = option ? option.title : title.dataset.first;
        table.dataset.measure = key;
        const order = new Map([...kept.keys()].map((cell) => [cell.parentElement, 0]));
        [...order.keys()].forEach((row, n) => order.set(row, n));
        for (const [cell, first] of kept) {
          if (!option) {
            cell.className = first.class;
            cell.replaceChildren(...first.html);
            if (first.value === undefined) delete cell.dataset.value;
            else cell.dataset.value = first.value;
            continue;
          }
          const entry = rows && rows[order.get(cell.parentElement)][cell.cellIndex - 1];
          const link = first.html.find((node) => node.localName === "a");
          const start = first.class.includes("start") ? " start" : "";
          if (!entry) {
            cell.className = `c absent${start}`;
            cell.replaceChildren("–");
            delete cell.dataset.value;
            continue;
          }
          const [value, low, high, n] = entry;
          const strength = Math.min(1, Math.max(0, option.unit === "area" ? 2 * value - 1 : value));
          const step = Math.floor(10 * (option.better === "low" ? 1 - strength : strength) + 0.5);
          cell.className = `c q${step}${start}`;
          cell.dataset.value = value;
          const content = [make("b", {}, text(value, option.unit))];
          if (low !== null && high !== null) content.push(make("small", {}, `${text(low, option.unit)}–${text(high, option.unit)}`));
          if (n !== null && String(n) !== table.dataset.n) content.push(make("small", {}, `n = ${n.toLocaleString("en")}`));
          const doubt = first.html.map((node) => node.matches?.(".doubt") ? node : node.querySelector?.(".doubt")).find(Boolean);
          if (doubt) content.splice(1, 0, doubt.cloneNode(true));
          cell.replaceChildren(link ? make("a", { class: "go", href: link.getAttribute("href") }, ...content) : content[0]);
          if (!link) cell.append(...content.slice(1));
        }
        all(".legend > :not(.save)", block).forEach((part) => (part.hidden = Boolean(key)));
      }
    }

    function filter() {
      const wanted = Object.fromEntries(["dataset", "model", "knowledge", "defense", "attack"].map((name) => [name, tool(name).value]));
      const has = (name, part) => name.toLowerCase().includes(part.toLowerCase());
      let shown = 0;
      for (const { block, table } of blocks) {
        block.hidden = ["dataset", "model", "knowledge"].some((axis) => wanted[axis] && block.dataset[axis] !== wanted[axis]);
        const heads = all("thead th", table).filter((head) => head.dataset.attack !== undefined);
        const kept = heads.map((head) => !wanted.attack || has(head.dataset.attack, wanted.attack));
        heads.forEach((head, n) => (head.hidden = !kept[n]));
        let n = 0;
        for (const group of all("thead th.group", table)) {
          group.dataset.span ??= group.colSpan;
          const left = kept.slice(n, n + Number(group.dataset.span)).filter(Boolean).length;
          n += Number(group.dataset.span);
          group.hidden = left === 0;
          if (left) group.colSpan = left;
        }
        for (const row of table.tBodies[0].rows) {
          row.hidden = Boolean(wanted.defense) && !has(row.dataset.defense, wanted.defense);
          [...row.cells].slice(1).forEach((cell, at) => (cell.hidden = !kept[at]));
          if (!block.hidden && !row.hidden) shown += kept.filter(Boolean).length;
        }
      }
      tool("status").textContent = Object.values(wanted).some(Boolean) ? `${shown} ${shown === 1 ? "cell" : "cells"} shown` : "";
    }

    tool("measure").addEventListener("change", (event) => show(event.target.value));
    ["dataset", "model", "knowledge"].forEach((axis) => tool(axis).addEventListener("change", filter));
    ["defense", "attack"].forEach((axis) => tool(axis).addEventListener("input", filter));
    tool("reset").addEventListener("click", () => {
      all("select, input", tools).forEach((control) => (control.value = ""));
      show("");
      filter();
    });
    tools.hidden = false;
  }

  // -- charts and thresholds ------------------------------------------------------------------------------------------

  const views = new Map();
  /* The page has columns, Vega wants rows. */
  function rows(columns) {
    const fields = Object.entries(columns).map(([name, column]) => [name, column.of ? column.at.map((n) => (n === null ? null : column.of[n])) : column]);
    if (!fields.length) return [];
    return fields[0][1].map((_, n) => Object.fromEntries(fields.filter(([, column]) => column[n] !== null).map(([name, column]) => [name, column[n]])));
  }
  async function draw(figure) {
    if (!window.vegaEmbed || views.has(figure)) return;
    const data = read(one("script", figure));
    const plot = one(".plot", figure);
    const description = structuredClone(window.benchCharts[figure.dataset.chart]);
    for (const set of description.data) if (set.name in data) set.values = rows(data[set.name]);
    description.autosize = { type: "fit-x", contains: "padding" };
    description.width = Math.max(220, Math.min(figure.clientWidth || 420, 560));
    // The interpreter needs no eval, which the page's policy forbids.
    const drawn = window.vegaEmbed(plot, description, { mode: "vega", renderer: "svg", actions: false, ast: true });
    views.set(figure, drawn.then((made) => made.view));
    const view = await views.get(figure);
    one("svg", plot).setAttribute("aria-hidden", "true"); // the place of the chart has its label
    const saveView = async () => {
      const style = getComputedStyle(document.documentElement);
      const svg = (await view.toSVG()).replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
      save(svg, "image/svg+xml", `${figure.dataset.chart}.svg`);
    };
    // The file shows the operating point; whoever has moved the slider wants what is seen.
    const file = one("a[data-svg]", figure);
    if (file) file.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      saveView();
    });
    else figure.append(make("span", { class: "save" }, make("button", { type: "button", on: { click: saveView } }, "SVG")));
    figure.dataset.drawn = "";
  }

  function slider(box) {
    const numbers = read(one("script[data-threshold]", box));
    const input = one("input", box);
    const charts = all(`[data-of="${box.dataset.slider}"]`);
    const whole = { caught: numbers.successful, alarms: numbers.successful, withstood: numbers.images, kept: numbers.images };
    async function update() {
      const at = Number(input.value);
      const threshold = numbers.t[at];
      const said = Number(threshold.toPrecision(4)).toString();
      one('[data-out="t"]', box).textContent = at === numbers.operating ? `${said} (operating point)` : said;
      input.setAttribute("aria-valuetext", said);
      for (const [name, of] of Object.entries(whole)) {
        const count = numbers[name][at];
        const known = of && count !== null;
        one(`[data-out="${name}"]`, box).textContent = known ? `${percent(count / of)} %` : of ? "not known" : "–";
        one(`[data-count="${name}"]`, box).textContent = known ? `${count.toLocaleString("en")} of ${of.toLocaleString("en")}` : "";
      }
      for (const figure of charts) {
        const view = await views.get(figure);
        if (!view) continue;
        if (figure.dataset.chart === "scores") view.data("cut", [{ x: threshold }]);
        else if (figure.dataset.chart === "roc" && numbers.successful)
          view.data("point", [{ x: numbers.alarms[at] / numbers.successful, y: numbers.caught[at] / numbers.successful }]);
        else continue;
        await view.runAsync();
      }
    }
    input.addEventListener("input", update);
    const back = one("[data-back]", box);
    if (back) back.addEventListener("click", () => {
      input.value = numbers.operating;
      update();
    });
    one(".control", box).hidden = false;
    update();
  }

  // -- images ---------------------------------------------------------------------------------------------------------

  const PAGE = 4;
  function gallery(section) {
    const strata = all(".stratum", section);
    const tabs = one(".tabs", section);
    strata.forEach((stratum, n) => {
      const button = make("button", { type: "button", "aria-pressed": String(n === 0) }, `${stratum.dataset.title} `,
        make("span", { class: "count" }, stratum.dataset.count));
      button.addEventListener("click", () => {
        all("button", tabs).forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
        strata.forEach((other) => (other.hidden = other !== stratum));
      });
      tabs.append(button);
      stratum.hidden = n > 0;
      const cards = all(".card", stratum);
      if (cards.length <= PAGE) return;
      let page = 0;
      const pages = Math.ceil(cards.length / PAGE);
      const told = make("span", { role: "status", "aria-live": "polite" });
      const turn = (to) => {
        page = to;
        cards.forEach((card, place) => (card.hidden = Math.floor(place / PAGE) !== page));
        told.textContent = `page ${page + 1} of ${pages}`;
        before.disabled = page === 0;
        after.disabled = page === pages - 1;
      };
      const before = make("button", { type: "button", on: { click: () => turn(page - 1) } }, "← previous");
      const after = make("button", { type: "button", on: { click: () => turn(page + 1) } }, "next →");
      stratum.append(make("p", { class: "pager" }, before, told, after));
      turn(0);
    });
    tabs.hidden = strata.length < 2;
    // Paper has all pages of the kind that is chosen.
    window.addEventListener("beforeprint", () => all(".stratum:not([hidden]) img", section).forEach((image) => (image.loading = "eager")));
    section.addEventListener("click", (event) => {
      const link = event.target.closest("a.zoom");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      const card = link.closest(".card");
      const pictures = make("div", { class: "pictures" });
      all(".pictures > figure", card).forEach((figure) => {
        const copy = figure.cloneNode(true);
        const image = one("img", copy);
        one("a", copy).replaceWith(image);
        pictures.append(copy);
      });
      const dialog = make("dialog", { class: "viewer", "aria-label": "Image, enlarged" }, pictures,
        make("form", { method: "dialog" }, make("button", {}, "Close")));
      dialog.addEventListener("close", () => {
        dialog.remove();
        link.focus();
      });
      document.body.append(dialog);
      dialog.showModal();
    });
  }

  // -- all pages in one file ------------------------------------------------------------------------------------------

  function sheets() {
    const pages = all(".sheet");
    if (pages.length < 2) return;
    const turn = () => {
      const target = document.getElementById(decodeURIComponent(location.hash.slice(1))) || pages[0];
      const page = target.closest(".sheet") || pages[0];
      pages.forEach((other) => (other.hidden = other !== page));
      all(".chart", page).forEach(draw);
      if (target === page) window.scrollTo(0, 0);
      else target.scrollIntoView();
    };
    window.addEventListener("hashchange", turn);
    turn();
  }

  function start() {
    tableButtons();
    all("[data-matrix]").forEach(matrix);
    all("[data-gallery]").forEach(gallery);
    if (all(".sheet").length === 1) all(".chart").forEach(draw);
    sheets();
    all("[data-slider]").forEach(slider);
    document.documentElement.dataset.ready = "";
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
