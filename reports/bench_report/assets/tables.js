// Every table: sorted by its heads, saved and copied as CSV, Markdown and LaTeX.
"use strict";
(() => {
  const { all, one, make, save, copy, visible, remember, changed, features } = window.bench;

  // -- places ---------------------------------------------------------------------------------------------------------

  // The cells of rows by their place: a cell that spans several places is in each of them.
  function places(rows, seen = () => true) {
    const grid = rows.map(() => []);
    rows.forEach((row, y) => {
      let x = 0;
      for (const cell of [...row.cells].filter(seen)) {
        while (grid[y][x]) x++;
        for (let dy = 0; dy < cell.rowSpan && y + dy < rows.length; dy++)
          for (let dx = 0; dx < cell.colSpan; dx++) grid[y + dy][x + dx] = cell;
        x += cell.colSpan;
      }
    });
    return grid;
  }
  const headRows = (table) => (table.tHead ? [...table.tHead.rows] : []);
  const bodyRows = (table) => [...table.tBodies].flatMap((body) => [...body.rows]);
  function cellText(cell) {
    const parts = [];
    const walk = (node) => {
      if (node.nodeType === Node.TEXT_NODE) parts.push(node.data);
      else if (node.nodeType === Node.ELEMENT_NODE && node.localName !== "svg" && !node.classList.contains("hidden")) {
        if (node.localName === "small") parts.push(" [");
        if (node.classList.contains("mark")) parts.push(" ");
        node.childNodes.forEach(walk);
        if (node.localName === "small") parts.push("]");
      }
    };
    walk(cell);
    return parts.join("").replace(/\s+/g, " ").trim();
  }
  // What a column is called: the texts of its heads, each once.
  const headText = (column) => [...new Set(column.map(cellText))].filter(Boolean).join(" / ");
  const columnsOf = (table, seen) => {
    const grid = places(headRows(table), seen);
    return (grid[0] || []).map((_, x) => grid.map((row) => row[x]).filter(Boolean));
  };

  // -- sorting --------------------------------------------------------------------------------------------------------

  function amount(row, cell) {
    const value = cell.dataset.value ?? cell.dataset.published;
    if (value !== undefined) return Number(value);
    const found = /^[<>~±]? ?([+−-]?\d[\d,]*(\.\d+)?|[+−-]?\.\d+)/.exec(cellText(cell));
    return found ? Number(found[1].replaceAll(",", "").replace("−", "-")) : NaN;
  }

  const sorters = new WeakMap(); // sheet → table's name → { get, set }
  function sortable(table, name) {
    // A body whose first row is a heading of its own is sorted under it.
    const headed = (row) => row.cells.length === 1 && row.cells[0].scope === "rowgroup";
    const bodies = [...table.tBodies].map((body) => ({ body, rows: [...body.rows].filter((row) => !headed(row)) }));
    const original = bodies.flatMap(({ rows }) => rows);
    if (original.length < 2 || original.some((row) => all("[colspan], [rowspan]", row).length)) return;
    const bottom = places(headRows(table)).at(-1) || [];
    let by = null; // { head, column, direction }
    const order = () => {
      all("th[aria-sort]", table).forEach((head) => head.removeAttribute("aria-sort"));
      if (!by) return bodies.forEach(({ body, rows }) => body.append(...rows));
      by.head.setAttribute("aria-sort", by.direction);
      const sign = by.direction === "ascending" ? 1 : -1;
      const keyed = (rows) => rows.map((row) => ({ row, text: cellText(row.cells[by.column]), number: amount(row, row.cells[by.column]) }));
      const told = ({ text, row }) => text && text !== "–" && visible(row.cells[by.column]);
      const numeric = numbers(by.column);
      const compared = (a, b) =>
        numeric
          ? Number.isNaN(a.number) - Number.isNaN(b.number) || sign * (a.number - b.number) || 0
          : !told(a) - !told(b) || sign * a.text.localeCompare(b.text, "en", { numeric: true });
      for (const { body, rows } of bodies) body.append(...keyed(rows).sort(compared).map(({ row }) => row));
    };
    const numbers = (column) => {
      const cells = original.map((row) => row.cells[column]).filter((cell) => cell && !["", "–", "failed", "not run"].includes(cellText(cell)));
      return cells.length > 0 && cells.every((cell) => cell.localName === "td" && !Number.isNaN(amount(null, cell)));
    };
    const heads = [...new Set(bottom)].map((head) => ({ head, column: bottom.indexOf(head) })).filter(({ head }) => head && cellText(head));
    for (const { head, column } of heads) {
      const button = make("button", { type: "button", class: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // The first look at a column of numbers is for its greatest; the third click gives the first order back.
        const turns = numbers(column) ? ["descending", "ascending"] : ["ascending", "descending"];
        const next = turns[by && by.column === column ? turns.indexOf(by.direction) + 1 : 0];
        by = next ? { head, column, direction: next } : null;
        order();
        changed(table);
      });
    }
    table.addEventListener("values", () => by && order());
    sorters.get(table.closest(".sheet")).set(name, {
      get: () => (by ? `${by.column}${by.direction[0]}` : ""),
      set: (said) => {
        const [, column, direction] = /^(\d+)([ad])$/.exec(said) || [];
        const found = heads.find((known) => known.column === Number(column));
        by = found ? { ...found, direction: direction === "a" ? "ascending" : "descending" } : null;
        order();
      },
    });
  }
  function sorting(sheet) {
    const known = new Map();
    sorters.set(sheet, known);
    all("table:not(.verdicts)", sheet).forEach((table, n) => {
      const name = (table.getAttribute("aria-labelledby") || table.dataset.table || "").trim();
      sortable(table, name && !known.has(name) ? name : `${name}~${n}`);
    });
    if (!known.size) return;
    remember(sheet, "sort", () => [...known].filter(([, { get }]) => get()).map(([name, { get }]) => `${name}:${get()}`).join(" "), (said) => {
      const wanted = new Map(said.split(" ").filter(Boolean).map((part) => [part.slice(0, part.lastIndexOf(":")), part.slice(part.lastIndexOf(":") + 1)]));
      for (const [name, { get, set }] of known) if (get() !== (wanted.get(name) ?? "")) set(wanted.get(name) ?? "");
    });
  }

  // -- CSV ------------------------------------------------------------------------------------------------------------

  // A spreadsheet takes what begins so for a formula, unless it is a number.
  const harmless = (text) => (/^[=+\-@＝＋－＠\t\r]/.test(text) && !/^[+-]?\d[\d.]*(e[+-]?\d+)?$/.test(text) ? `'${text}` : text);
  const csv = (rows) =>
    rows.map((row) => row.map((text = "") => harmless(text)).map((text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)).join(",")).join("\n") + "\n";

  // What a number is of and what it is, in the words of `bench export`; the attribute is `data-` and the key.
  const FIELDS = {
    run: "run", dataset: "dataset", model: "model", attack: "attack", group: "group", defense: "defense", knowledge: "knowledge", seed: "seed",
    baseline: "baseline", metric: "metric", standing: "verdict", published: "published", value: "value", low: "ci_low", high: "ci_high", worst: "worst", p: "p", n: "n",
  };
  const COVERED = { defense: "defense", attack: "attack", model: "model", "data set": "dataset", attacker: "knowledge", measure: "metric", n: "n" };
  // A record per number, with all that its table, row, column and cell say about it.
  function records(table) {
    const columns = columnsOf(table);
    const found = [];
    for (const row of bodyRows(table).filter(visible)) {
      const of = (cell, heads) => {
        const said = Object.assign({}, table.dataset, ...heads.map((head) => ({ ...head.dataset })), row.parentElement.dataset, row.dataset, cell.dataset);
        const record = {};
        for (const [key, field] of Object.entries(FIELDS)) if (said[key] !== undefined) record[field] = said[key];
        if (table.dataset.baseline !== undefined) {
          record.difference = record.value;
          delete record.value;
        }
        // How far it can be believed: what the sign beside it says on the page.
        const mark = one(".doubt", cell) ? "flagged" : one(".mark", cell)?.ariaLabel;
        if (mark) record.trust = mark;
        const pair = one("[data-difference]", cell);
        if (pair) for (const key of ["difference", "low", "high", "p"]) record[key === "low" || key === "high" ? `difference_${key}` : key] = pair.dataset[key];
        return record;
      };
      if (row.dataset.value !== undefined) found.push(of(row, []));
      const words = {};
      [...row.cells].forEach((cell, x) => {
        const name = headText(columns[x] || []).toLowerCase() || "row";
        if (cell.localName === "th" && !(COVERED[name] && COVERED[name] in of(cell, []))) words[name] = cellText(one("bdi", cell) || cell);
      });
      [...row.cells].forEach((cell, x) => {
        if ((cell.dataset.value === undefined && cell.dataset.published === undefined) || !visible(cell)) return;
        const heads = columns[x] || [];
        const told = heads.some((head) => ["attack", "defense", "metric", "run", "seed"].some((key) => key in head.dataset));
        found.push({ ...words, ...(told || "metric" in row.dataset ? {} : { column: headText(heads) }), ...of(cell, heads) });
      });
    }
    return found;
  }
  const exact = (cell) => {
    if (cell.dataset.value !== undefined) return cell.dataset.value;
    const text = cellText(cell);
    return /^[+−-]?\d{1,3}(,\d{3})+(\.\d+)?$|^−?\d+(\.\d+)?$/.test(text) ? text.replaceAll(",", "").replace("−", "-") : text;
  };
  function csvOf(table) {
    const found = all("[data-metric], [data-low]", table).length || table.dataset.metric !== undefined ? records(table) : [];
    if (!found.length) {
      const rows = [...bodyRows(table), ...(table.tFoot ? table.tFoot.rows : [])].filter(visible);
      const unit = (column) => column.map((head) => head.dataset.unit).filter(Boolean).map((of) => ` (${of})`);
      return csv([columnsOf(table, visible).map((column) => headText(column) + unit(column)), ...places(rows, visible).map((row) => row.map(exact))]);
    }
    const last = ["metric", "published", "value", "difference", "ci_low", "ci_high", "worst", "difference_low", "difference_high", "p", "n", "trust"];
    const names = [...new Set(found.flatMap(Object.keys))].filter((name) => found.some((record) => record[name]));
    const known = Object.values(FIELDS).filter((name) => !last.includes(name));
    const rank = (name) => (last.includes(name) ? 100 + last.indexOf(name) : known.includes(name) ? 1 + known.indexOf(name) : 50);
    names.sort((a, b) => rank(a) - rank(b));
    return csv([names, ...found.map((record) => names.map((name) => record[name]))]);
  }

  // -- Markdown and LaTeX ---------------------------------------------------------------------------------------------

  const best = (cell) => cell.classList.contains("best");
  const shownRows = (table) => [...bodyRows(table), ...(table.tFoot ? table.tFoot.rows : [])].filter(visible);
  const isNumber = (table, x) => {
    const cells = places(shownRows(table), visible).map((row) => row[x]).filter(Boolean);
    return cells.length > 0 && cells.every((cell) => cell.matches("td.c, td.num, .numbers td"));
  };
  function markdown(table) {
    const text = (words) => words.replace(/([\\|*_`<>[\]~$])/g, "\\$1");
    const columns = columnsOf(table, visible);
    const rows = places(shownRows(table), visible).map((row) => row.map((cell) => (best(cell) ? `**${text(cellText(cell))}**` : text(cellText(cell)))));
    const line = (row) => `| ${row.join(" | ")} |`;
    return [line(columns.map((column) => text(headText(column)))), line(columns.map((_, x) => (isNumber(table, x) ? "---:" : "---"))), ...rows.map(line), ""].join("\n");
  }
  const TEX = { "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "−": "$-$", "–": "--",
    "±": "$\\pm$", "×": "$\\times$", "∞": "$\\infty$", "ε": "$\\varepsilon$", "≤": "$\\leq$", "≥": "$\\geq$", "→": "$\\rightarrow$",
    "•": "$\\bullet$", "◆": "$\\bullet$", "◇": "$\\diamond$", "†": "\\dag{}", "★": "", "▲": "", "▼": "", "⚠": "" };
  const tex = (text) => text.replace(/[\\&%$#_{}~^<>|−–±×∞ε≤≥→•◆◇†★▲▼⚠]/g, (c) => TEX[c]).trim();
  // What a table says without its page: measure, data set, network, attacker, n, and what its bold numbers are.
  function captionOf(table) {
    const words = (node) => node.textContent.replace(/\s+/g, " ").trim();
    const sentence = (text) => (text && !/[.!?:]$/.test(text) ? `${text}.` : text);
    const figure = table.closest("figure");
    const labels = (table.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)).filter(Boolean);
    const head = (figure && one("figcaption .title, figcaption .hidden", figure)) || labels.at(-1);
    const title = head ? words(head) : table.closest("[aria-label]")?.ariaLabel || "";
    const found = records(table);
    const kinds = (field) => [...new Set(found.map((record) => record[field]).filter(Boolean))];
    const only = (field, say) => (kinds(field).length === 1 ? say(kinds(field)[0]) : "");
    const of = [
      [only("model", (model) => model), only("dataset", (dataset) => dataset)].filter(Boolean).join(" on "),
      only("knowledge", (knowledge) => `${knowledge} attacker`), only("seed", (seed) => `seed ${seed}`),
    ].filter(Boolean).join(", ");
    const measures = kinds("metric").map((name) => name.replaceAll("_", " "));
    const counts = kinds("n").map(Number).sort((a, b) => a - b);
    // The signs that it explains stand in no copy.
    const how = figure ? all(".how", figure).filter(visible).map(words).join(" ").replace(/ ?▲ ▼:[^.]*\./, "") : "";
    const legends = figure ? all(".legend > span", figure).filter(visible).map(words) : [];
    const legend = legends.find((text) => text.startsWith("★"));
    return [
      [title, of].filter(Boolean).join(": "),
      how,
      measures.length && measures.length <= 4 ? `Measures: ${measures.join(", ")}` : "",
      counts.length && !/\bn = /.test(how) ? `n = ${[...new Set([counts[0], counts.at(-1)])].join(" to ")} images` : "",
      legend ? legend.replace(/^★ and frame/, "Bold") : "",
      ...legends.filter((text) => /^[◆◇†]/.test(text)),
    ].map(sentence).filter(Boolean).join(" ");
  }
  function latex(table) {
    const heads = places(headRows(table), visible);
    const width = Math.max(...heads.map((row) => row.length), ...places(shownRows(table), visible).map((row) => row.length));
    const lines = [];
    heads.forEach((row, y) => {
      const cells = [];
      const rules = [];
      for (let x = 0; x < width; ) {
        const head = row[x];
        let span = 1;
        while (head && row[x + span] === head) span++;
        // A head that goes on below stands at its last row.
        const words = head && heads[y + 1]?.[x] !== head ? tex(cellText(head)) : "";
        cells.push(span > 1 ? `\\multicolumn{${span}}{c}{${words}}` : words);
        if (span > 1 && y + 1 < heads.length) rules.push(`\\cmidrule(lr){${x + 1}-${x + span}}`);
        x += span;
      }
      lines.push(`  ${cells.join(" & ")} \\\\`);
      if (rules.length) lines.push(`  ${rules.join(" ")}`);
    });
    const rows = places(shownRows(table), visible).map((row) =>
      `  ${Array.from({ length: width }, (_, x) => (row[x] ? (best(row[x]) ? `\\textbf{${tex(cellText(row[x]))}}` : tex(cellText(row[x]))) : "")).join(" & ")} \\\\`);
    const kinds = Array.from({ length: width }, (_, x) => (isNumber(table, x) ? "r" : "l")).join("");
    const again = all(".scroll > table", table.closest(".sheet")).filter((other) => stem(other) === stem(table)).indexOf(table);
    return ["% needs \\usepackage{booktabs}", "\\begin{table}", "  \\centering", `  \\caption{${tex(captionOf(table))}}`, `  \\label{tab:${stem(table)}${again ? `-${again + 1}` : ""}}`,
      `  \\begin{tabular}{${kinds}}`, "  \\toprule", ...lines, "  \\midrule", ...rows, "  \\bottomrule", "  \\end{tabular}", "\\end{table}", ""].join("\n");
  }

  // -- saving and copying ---------------------------------------------------------------------------------------------

  // `robust_digits_small-cnn_gray-box`: what the table shows, and of what.
  function stem(table) {
    const run = table.closest("section.run")?.id;
    const parts = [run, table.dataset.table, ...["of", "measure", "dataset", "model", "attack", "defense", "knowledge", "baseline"].map((key) => table.dataset[key]),
      table.dataset.seed && `seed-${table.dataset.seed}`];
    const words = parts.filter(Boolean).map((part) => part.toLowerCase().replace(/[^a-z0-9.]+/g, "-").replace(/^[-.]+|[-.]+$/g, "").slice(0, 40));
    return words.filter(Boolean).join("_") || "table";
  }
  const FORMATS = [["CSV", "csv", "text/csv", csvOf], ["Markdown", "md", "text/markdown", markdown], ["LaTeX", "tex", "text/x-tex", latex]];
  function taking(sheet) {
    for (const table of all("table:not(.verdicts)", sheet)) {
      const frame = table.closest(".scroll");
      if (!frame) continue;
      const box = make("details", { class: "take" }, make("summary", {}, "Save or copy"));
      // Made when it is asked for: a large report has hundreds of tables.
      box.addEventListener("toggle", () => {
        if (box.childElementCount > 1) return;
        const told = make("span", { role: "status", "aria-live": "polite" });
        const buttons = (verb, act) =>
          make("span", {}, `${verb} `, ...FORMATS.map((format) => make("button", { type: "button", "aria-label": `${verb} ${format[0]}`, on: { click: () => act(format) } }, format[0])));
        box.append(make("p", {},
          buttons("Save", ([, ending, type, text]) => save(text(table), type, `${stem(table)}.${ending}`)),
          buttons("Copy", async ([name, , , text]) => {
            const active = document.activeElement;
            await copy(text(table));
            active.focus();
            told.textContent = `${name} copied`;
          }), told));
      });
      const legend = frame.nextElementSibling;
      if (legend && legend.classList.contains("legend")) legend.append(box);
      else frame.after(box);
    }
  }

  // -- on paper -------------------------------------------------------------------------------------------------------

  // A sheet of A4 between its margins, in pixels, and what is left there of a column's width on the screen: the style
  // sheet prints smaller letters.
  const SHEET = 680, PRINTED = 0.7;
  // Parts of a table that is wider than a sheet: as many columns as it holds, each part with the heads of the rows.
  function parts(table) {
    const rows = bodyRows(table).filter(visible);
    const count = Math.max(0, ...places([...headRows(table), ...rows]).map((row) => row.length));
    const widths = Array(count).fill(0);
    for (const row of [places(headRows(table)), places(rows)].flat()) row.forEach((cell, x) => {
      if (cell.colSpan === 1) widths[x] = Math.max(widths[x], cell.offsetWidth * PRINTED);
    });
    const heads = places(rows).map((row) => row.findIndex((cell) => cell.localName !== "th")).filter((x) => x > 0);
    const fixed = Math.min(count, ...heads);
    const sum = (some) => some.reduce((all, width) => all + width, 0);
    if (!rows.length || !heads.length || sum(widths) <= SHEET) return [];
    const room = SHEET - sum(widths.slice(0, fixed));
    const found = [[]];
    for (let x = fixed; x < count; x++) {
      if (found.at(-1).length && sum(found.at(-1).map((column) => widths[column])) + widths[x] > room) found.push([]);
      found.at(-1).push(x);
    }
    return found.map((columns) => {
      const part = table.cloneNode(true);
      const kept = new Set([...Array(fixed).keys(), ...columns]);
      const covered = new Map(); // cell → how many of its columns stay
      for (const grid of [headRows(part), bodyRows(part)].map((of) => places(of)))
        for (const row of grid) {
          const here = new Map();
          row.forEach((cell, x) => here.set(cell, (here.get(cell) || 0) + kept.has(x)));
          here.forEach((span, cell) => covered.set(cell, span));
        }
      covered.forEach((span, cell) => (span ? (cell.colSpan = span) : cell.remove()));
      all("[id]", part).forEach((element) => element.removeAttribute("id"));
      part.classList.add("part");
      return part;
    });
  }
  function paper(sheet) {
    addEventListener("beforeprint", () => {
      for (const table of all(".scroll > table:not(.part)", sheet).filter(visible)) {
        const found = parts(table);
        if (!found.length) continue;
        table.classList.add("in-parts");
        table.after(...found);
      }
    });
    addEventListener("afterprint", () => {
      all(".scroll > .part", sheet).forEach((part) => part.remove());
      all(".in-parts", sheet).forEach((table) => table.classList.remove("in-parts"));
    });
  }

  features.push(sorting, taking, paper);
})();
