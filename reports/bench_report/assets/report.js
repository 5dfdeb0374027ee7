// What a page can do beyond reading: what its address says, filters, measures, thresholds, charts. tables.js sorts and
// saves tables, samples.js browses images. Everything shown without them stays readable; controls are made here, so that
// none is dead without them.
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
  const visible = (element) => !element.closest("[hidden]");

  function save(text, type, name) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    const link = make("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", { class: "hidden", "aria-hidden": "true" });
      area.value = text;
      (one("dialog[open]") || document.body).append(area);
      area.select();
      document.execCommand("copy"); // what is left where a browser refuses the clipboard to files
      area.remove();
    }
  }

  // -- what the address says ------------------------------------------------------------------------------------------

  // After the # stands `anchor?settings`. Only this part of a file's address can be changed without loading it again.
  // A control is remembered by its key while it says something else than it did at first.
  const controls = new WeakMap(); // sheet → key → { get, set }
  const sheetOf = (element) => element.closest(".sheet");
  const remember = (element, key, get, set) => controls.get(sheetOf(element)).set(key, { get, set });
  function address() {
    const [anchor, ...settings] = location.hash.slice(1).split("?");
    try {
      return { anchor: decodeURIComponent(anchor), settings: new URLSearchParams(settings.join("?")) };
    } catch {
      return { anchor: "", settings: new URLSearchParams() };
    }
  }
  function said(sheet) {
    const settings = new URLSearchParams();
    for (const [key, { get }] of controls.get(sheet)) if (get()) settings.set(key, get());
    return String(settings);
  }
  const hash = (anchor, settings) => (anchor || settings ? `#${encodeURIComponent(anchor)}${settings ? `?${settings}` : ""}` : "");

  let due = 0;
  let changedSheet = null;
  function write(step = false) {
    clearTimeout(due);
    if (!changedSheet) return;
    const wanted = hash(address().anchor, said(changedSheet));
    changedSheet = null;
    if (wanted === location.hash) return;
    const place = location.href.split("#")[0] + wanted;
    if (step) history.pushState({}, "", place);
    else history.replaceState(history.state, "", place);
  }
  // Browsers allow some hundred changes of the address in a while, and a slider makes more.
  function changed(element, step = false) {
    if (changedSheet !== sheetOf(element)) write();
    changedSheet = sheetOf(element);
    clearTimeout(due);
    if (step) write(true);
    else due = setTimeout(write, 150);
  }
  /* A box or a list that `filter` goes by; a value that it does not have is none. */
  function rememberFilter(element, key, control, filter) {
    const isBox = control.localName === "input";
    const known = (value) => isBox || [...control.options].some((option) => option.value === value);
    remember(element, key, () => control.value, (value) => {
      control.value = known(value) ? value : "";
      filter();
    });
    control.addEventListener(isBox ? "input" : "change", () => {
      filter();
      changed(element);
    });
  }
  const leave = () => {
    write();
    history.replaceState({ ...history.state, y: window.scrollY }, "");
  };

  // What was landed on stays in place while charts and images above it are still coming, until the reader moves.
  let landed = null;
  const stay = () => landed && landed.scrollIntoView();
  for (const event of ["wheel", "touchstart", "pointerdown", "keydown"])
    window.addEventListener(event, () => (landed = null), { passive: true, capture: true });
  // Places of the page are true once all of it is laid out.
  const layOut = () => (document.documentElement.dataset.whole = "");
  // A large grid can be read before all of it is laid out. What is laid out only when a reader comes to it moves under the
  // pointer: a click lands beside what was aimed at. So the blocks off the screen follow one by one, at once, and all that
  // are left before a reader moves.
  function layOutRest() {
    for (const event of ["wheel", "touchstart", "pointerdown", "keydown", "scroll"])
      window.addEventListener(event, layOut, { passive: true, capture: true, once: true });
    const late = all(".matrix .block");
    const next = () => {
      const block = late.shift();
      if (!block) return layOut();
      block.style.contentVisibility = "visible";
      block.getBoundingClientRect();
      setTimeout(next);
    };
    setTimeout(next);
  }
  function land(anchor) {
    layOut();
    const target = anchor ? document.getElementById(anchor) : null;
    landed = target;
    if (!target || target.matches(".sheet")) {
      window.scrollTo(0, 0);
      return;
    }
    for (let at = target; at; at = at.parentElement) if (at.localName === "details") at.open = true;
    if (!visible(target)) one('[data-tool="reset"]', target.closest("[data-matrix]") || document)?.click();
    if (target.tabIndex < 0) target.tabIndex = -1;
    target.focus({ preventScroll: true });
    target.scrollIntoView();
  }

  // A single file keeps its pages as text until they are turned to: parsed at once they would be 100,000 elements.
  const kept = () => all("noscript[data-sheet]");
  let current = null;
  function sheet(anchor) {
    const there = anchor && document.getElementById(anchor);
    if (there) return sheetOf(there) || current;
    const page = anchor && (kept().find((text) => text.dataset.sheet === anchor) || kept().find((text) => text.textContent.includes(`id="${anchor}"`)));
    if (!page) return one(".sheet");
    const parsed = document.createElement("template");
    parsed.innerHTML = page.textContent;
    const made = parsed.content.firstElementChild;
    page.replaceWith(made);
    setUp(made);
    return made;
  }
  function go(moved) {
    const { anchor, settings } = address();
    const left = current;
    const shown = (current = sheet(anchor));
    if (left !== shown) left?.dispatchEvent(new Event("left"));
    all(".sheet").forEach((other) => (other.hidden = other !== shown));
    document.title = shown.dataset.title || document.title;
    for (const [key, { get, set }] of controls.get(shown)) if (get() !== (settings.get(key) ?? "")) set(settings.get(key) ?? "");
    all(".chart[data-chart]", shown).forEach(draw);
    if (moved) land(anchor);
    else if (all(".sheet").length + kept().length > 1) window.scrollTo(0, history.state?.y ?? 0);
    changedSheet = shown;
    write();
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || link.download) return;
    leave();
    const there = new URL(link.href);
    if (there.href.split("#")[0] !== location.href.split("#")[0]) return;
    event.preventDefault();
    const [anchor, settings] = there.hash.slice(1).split("?");
    const target = document.getElementById(anchor);
    if (target && !sheetOf(target)) {
      target.focus();
      target.scrollIntoView();
      return;
    }
    const same = settings === undefined && target && sheetOf(target) === current;
    const wanted = hash(anchor, same ? said(current) : settings);
    if (wanted !== location.hash) history.pushState({}, "", there.href.split("#")[0] + wanted);
    go(true);
  });
  window.addEventListener("hashchange", () => {
    changedSheet = null;
    go(!history.state);
  });
  window.addEventListener("pagehide", leave);

  // -- the matrix -----------------------------------------------------------------------------------------------------

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

  // What the first table says in a cell, as an entry of another measure.
  const asFirst = (data) => data.value !== undefined && ["value", "low", "high", "n"].map((name) => (name in data ? Number(data[name]) : null));

  function matrix(section) {
    const tools = one(".tools", section);
    const options = read(one("script[data-options]", section));
    const blocks = all(".block", section).filter((block) => one("table", block)).map((block) => {
      const table = one("table", block);
      return { block, table, switched: read(one("script[data-switch]", block)),
        kept: new Map(all("tbody td", table).map((cell) => [cell, { html: [...cell.childNodes], class: cell.className, data: { ...cell.dataset } }])) };
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

    let shown = "";
    function show(key) {
      const option = options.find((known) => known.key === key);
      shown = option ? key : "";
      tool("measure").value = shown;
      for (const { block, table, switched, kept } of blocks) {
        const rows = switched[key];
        all(".how", block).forEach((note) => (note.hidden = Boolean(option)));
        const title = one("figcaption .title", block);
        title.dataset.first ??= title.textContent;
        title.textContent = option ? option.title : title.dataset.first;
        if (option) table.dataset.measure = key;
        else delete table.dataset.measure;
        const order = new Map([...kept.keys()].map((cell) => [cell.parentElement, 0]));
        [...order.keys()].forEach((row, n) => order.set(row, n));
        for (const [cell, first] of kept) {
          if (!option) {
            cell.className = first.class;
            cell.replaceChildren(...first.html);
            put(cell, first.data);
            continue;
          }
          let row = rows && rows[order.get(cell.parentElement)];
          if (row && switched[row]) row = switched[row][order.get(cell.parentElement)]; // it has the numbers of that measure
          const entry = row === "" ? asFirst(first.data) : row && row[cell.cellIndex - 1];
          const link = first.html.find((node) => node.localName === "a");
          const start = first.class.includes("start") ? " start" : "";
          if (!entry) {
            cell.className = `c absent${start}`;
            cell.replaceChildren("–");
            put(cell, {});
            continue;
          }
          const [value, low, high, n = null] = entry;
          const strength = Math.min(1, Math.max(0, option.unit === "area" ? 2 * value - 1 : value));
          const step = Math.floor(10 * (option.better === "low" ? 1 - strength : strength) + 0.5);
          cell.className = `c q${step}${start}`;
          put(cell, { value, low, high, n });
          const content = [make("b", {}, text(value, option.unit))];
          if (low !== null && high !== null) content.push(make("small", {}, `${text(low, option.unit)}–${text(high, option.unit)}`));
          if (n !== null) content.push(make("small", {}, `n = ${n.toLocaleString("en")}`));
          const doubt = first.html.map((node) => node.matches?.(".doubt") ? node : node.querySelector?.(".doubt")).find(Boolean);
          if (doubt) content.splice(1, 0, doubt.cloneNode(true));
          cell.replaceChildren(link ? make("a", { href: link.getAttribute("href") }, ...content) : content[0]);
          if (!link) cell.append(...content.slice(1));
        }
        all(".legend > :not(.take)", block).forEach((part) => (part.hidden = Boolean(option)));
        for (const head of all("thead [data-metric]", table)) {
          head.dataset.first ??= head.dataset.metric;
          head.dataset.metric = option ? option.metrics[head.dataset.kind] || "" : head.dataset.first;
        }
        table.dispatchEvent(new Event("values"));
      }
    }
    function put(cell, data) {
      for (const name of Object.keys(cell.dataset)) delete cell.dataset[name];
      for (const [name, value] of Object.entries(data)) if (value !== null) cell.dataset[name] = value;
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

    const prefix = all("[data-matrix]", sheetOf(section)).length > 1 ? `${section.id}.` : "";
    remember(section, `${prefix}measure`, () => shown, show);
    tool("measure").addEventListener("change", (event) => {
      show(event.target.value);
      changed(section);
    });
    for (const name of ["dataset", "model", "knowledge", "defense", "attack"])
      rememberFilter(section, `${prefix}${name}`, tool(name), filter);
    tool("reset").addEventListener("click", () => {
      all("select, input", tools).forEach((control) => (control.value = ""));
      show("");
      filter();
      changed(section);
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
    stay();
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
    const first = input.value;
    const several = all("[data-slider]", sheetOf(box)).length > 1;
    // The address names the threshold itself: its place among others changes with the images.
    remember(box, several ? `threshold.${box.dataset.seed}` : "threshold", () => (input.value === first ? "" : String(numbers.t[input.value])), (value) => {
      const near = value === "" ? first : numbers.t.reduce((best, t, n) => (Math.abs(t - value) < Math.abs(numbers.t[best] - value) ? n : best), 0);
      input.value = near;
      update();
    });
    input.addEventListener("input", () => changed(box));
    const back = one("[data-back]", box);
    if (back) back.addEventListener("click", () => {
      input.value = numbers.operating;
      update();
      changed(box);
    });
    one(".control", box).hidden = false;
    update();
  }

  // -- glossary -------------------------------------------------------------------------------------------------------

  // What a term means, while the pointer is over it or it has the focus.
  const terms = () => window.benchTerms ?? (window.benchTerms = read(one("script[data-terms]")));
  function glossary() {
    const tip = make("div", { class: "term", role: "tooltip", id: "term", hidden: "" });
    document.body.append(tip);
    let about = null;
    let under = null; // the place that the pointer has moved to
    const hide = () => {
      about?.removeAttribute("aria-describedby");
      about = null;
      tip.hidden = true;
    };
    const placeOf = (target) => target.closest?.("[data-term], thead th[data-metric], tr[data-metric] > th") ?? null;
    const show = (place) => {
      const known = place && terms()[place.dataset.term ?? place.closest("[data-metric]").dataset.metric];
      const described = place && (place.matches("[tabindex]") ? place : one("button", place));
      if (!known || (about && about === described)) return known || hide();
      hide();
      about = described;
      about?.setAttribute("aria-describedby", "term");
      tip.replaceChildren(make("strong", {}, make("bdi", {}, known[0])), make("bdi", {}, known[1]));
      tip.hidden = false;
      const [box, own] = [place.getBoundingClientRect(), tip.getBoundingClientRect()];
      const below = box.bottom + own.height < window.innerHeight || box.top < own.height;
      tip.style.top = `${window.scrollY + (below ? box.bottom : box.top - own.height)}px`;
      tip.style.left = `${window.scrollX + Math.max(4, Math.min(box.left, window.innerWidth - own.width - 12))}px`;
    };
    // A page that moves under a pointer at rest (`mouseover` alone) opens nothing over what the reader is at.
    document.addEventListener("mouseover", ({ target }) => {
      if (tip.contains(target) || under?.contains(target)) return;
      under = null;
      if (!about?.matches(":focus")) hide();
    });
    document.addEventListener("mousemove", ({ target }) => {
      const place = placeOf(target);
      if (tip.contains(target) || place === under) return;
      under = place;
      show(place);
    });
    document.addEventListener("focusin", ({ target }) => show(placeOf(target)));
    document.addEventListener("focusout", hide);
    document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  }

  // -- start ----------------------------------------------------------------------------------------------------------

  const features = [
    (sheet) => all("[data-matrix]", sheet).forEach(matrix),
    (sheet) => all("[data-slider]", sheet).forEach(slider),
  ];
  function setUp(sheet) {
    controls.set(sheet, new Map());
    all(".unscripted", sheet).forEach((words) => words.remove());
    features.forEach((feature) => feature(sheet));
  }
  // Where a page of the report is, with settings: a file, or a part of this one.
  const link = (root, page, settings) => {
    const id = `page-${page.replace(/\.html$/, "").replace(/[^a-z0-9]+/g, "-")}`;
    return all(".sheet").length + kept().length > 1 ? `#${id}?${settings}` : `${root}${page}#?${settings}`;
  };
  window.bench = { all, one, make, save, copy, visible, remember, rememberFilter, changed, link, features };
  document.addEventListener("DOMContentLoaded", () => {
    all(".sheet").forEach(setUp);
    glossary();
    const [{ type }] = performance.getEntriesByType("navigation");
    if (type !== "navigate") layOut(); // the browser scrolls to where the reader was
    go(type === "navigate" && location.hash !== "");
    document.documentElement.dataset.ready = "";
    layOutRest();
  });
})();
