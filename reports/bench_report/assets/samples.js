// The browser of images: every image of a cell, by kind, class, answer, name and score; one of them large, in turn with its
// clean version, and in the other cells of the block. What it shows comes in files of script (samples.py says why).
"use strict";
(() => {
  const { all, one, make, remember, changed, copy, features, link } = window.bench;
  const PAGE = 24;
  const MOST_CELLS = 60;

  // -- data -----------------------------------------------------------------------------------------------------------

  const loaded = new Map();
  const stem = (path) => path.replace(/^.*\//, "").replace(/\.js$/, "");
  function script(path) {
    return new Promise((resolve, reject) => {
      const element = make("script", { src: path, on: { load: resolve, error: reject } });
      document.head.append(element);
    });
  }
  async function unpacked(path) {
    const held = one(`script[data-key="${stem(path)}"]`);
    if (!held) await script(path);
    const text = held ? held.textContent.trim() : window.benchSamples[stem(path)];
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }
  function load(path) {
    if (!loaded.has(path)) loaded.set(path, unpacked(path));
    return loaded.get(path);
  }
  const pictures = new Map();
  function picture(root, file) {
    if (!pictures.has(file)) {
      const held = one(`script[data-image="${file}"]`);
      const image = new Image();
      pictures.set(file, new Promise((resolve, reject) => {
        image.onload = () => resolve(image);
        image.onerror = reject;
        image.src = held ? `data:image/png;base64,${held.textContent.trim()}` : `${root}images/${file}`;
      }));
    }
    return pictures.get(file);
  }

  // -- a cell ---------------------------------------------------------------------------------------------------------

  function browser(section) {
    const several = all("[data-samples]", section.closest(".sheet")).length > 1;
    const seed = section.dataset.gallery;
    const said = { kind: "", class: "", answer: "", find: "", min: "", max: "", order: "", page: "", image: "" };
    let show = () => {};
    const key = (name) => (several ? `${name}.${seed}` : name);
    for (const name of Object.keys(said))
      remember(section, key(name), () => said[name], (value) => {
        said[name] = value;
        show();
      });
    const root = section.dataset.root;
    const { norm, clean: cleanPath, samples, block: blockPath } = section.dataset;
    Promise.all([load(blockPath), load(samples), cleanPath ? load(cleanPath) : null]).then(([block, cell, clean]) => {
      const own = cell[seed];
      const before = clean ? clean[seed] : null;
      if (own && (before || !cleanPath)) show = build(section, said, { block, own, before, root, norm, seed, key });
      show();
    }, () => {}); // without the data the few images of the page stay
  }

  function build(section, said, { block, own, before, root, norm, seed, key }) {
    const place = block.kept ? new Map(block.kept.map((number, at) => [number, at])) : null;
    const at = (number) => (place ? place.get(number) : number);
    const attacked = before !== null;
    const alarm = new Set(own.alarm);
    const className = (label) => block.classes[label] ?? (label < 0 ? "no class" : `class ${label}`);
    const short = (value) => String(Number(value.toPrecision(4))).replace("-", "−");

    // Draws an image of a sheet; no canvas here is read, which a page from a file may not.
    async function paint(canvas, sheets, number, over = null, doublings = 0) {
      const [x, y] = [(at(number) % block.most) % block.columns, Math.floor((at(number) % block.most) / block.columns)];
      const sheet = Math.floor(at(number) / block.most);
      canvas.width = block.width;
      canvas.height = block.height;
      const drawing = canvas.getContext("2d");
      drawing.imageSmoothingEnabled = false;
      const put = (image) => drawing.drawImage(image, x * block.width, y * block.height, block.width, block.height, 0, 0, block.width, block.height);
      const image = await picture(root, sheets[sheet]);
      const second = over && (await picture(root, over[sheet]));
      drawing.globalCompositeOperation = "source-over";
      put(image);
      if (second) {
        drawing.globalCompositeOperation = "difference";
        put(second);
        drawing.globalCompositeOperation = "lighter";
        for (let n = 0; n < doublings; n++) drawing.drawImage(canvas, 0, 0);
      }
      canvas.dataset.painted = "";
    }
    const canvas = (label) => make("canvas", { width: block.width, height: block.height, class: block.width < 64 ? "tiny" : null, ...(label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" }) });
    const pictured = (number, sheets) => sheets.length > 0 && at(number) !== undefined;

    const answer = (of, number) => {
      const right = of.label[number] === block.y[number];
      const cell = make("td", { class: right ? "ok" : "no" }, make("span", { role: "img", "aria-label": right ? "right" : "wrong" }, right ? "✓" : "✗"), " ", make("bdi", {}, className(of.label[number])));
      if (of.base[number] !== of.label[number]) cell.append(make("small", {}, "classifier: ", make("bdi", {}, className(of.base[number]))));
      return cell;
    };
    const flag = (of, number) => (of.flagged ? make("span", { class: `flag ${of.flagged[number] ? "flagged" : "passed"}` }, of.flagged[number] ? "flagged" : "passed") : "");
    function verdicts(number) {
      const versions = attacked ? [["Clean", before], ["Attacked", own]] : [["Clean", own]];
      const head = make("tr", {}, make("td"), make("th", { scope: "col" }, "Answer"));
      if (own.score) head.append(make("th", { scope: "col", class: "num" }, "Score"));
      if (own.flagged) head.append(make("th", { scope: "col" }, "Verdict"));
      return make("table", { class: "verdicts" }, make("thead", {}, head), make("tbody", {}, ...versions.map(([name, of]) => {
        const row = make("tr", {}, make("th", { scope: "row" }, name), answer(of, number));
        if (own.score) row.append(make("td", { class: "num" }, of.score?.[number] == null ? "–" : short(of.score[number])));
        if (own.flagged) row.append(make("td", {}, flag(of, number)));
        return row;
      })));
    }
    const size = (number) => (own.size && own.size[number] !== null ? `${norm} size ${short(own.size[number])}` : "");
    const kindTitle = (number) => (own.kind[number] === null ? (attacked ? "" : "Right") : block.kinds[own.kind[number]][1]);

    // -- filters

    const numbers = block.names.map((_, number) => number);
    const kinds = block.kinds.map(([key, title, definition], code) => {
      const of = key === "false-alarm" ? (number) => alarm.has(number) : (number) => own.kind[number] === code;
      return { key, title, definition, of, count: numbers.filter(of).length };
    }).filter(({ count }) => count);
    const field = (label, control) => make("label", {}, `${label} `, control);
    const set = (name) => (event) => {
      said[name] = event.target.value;
      said.page = "";
      render();
      changed(section);
    };
    const choice = (name, options) =>
      make("select", { autocomplete: "off", "data-filter": name, on: { change: set(name) } }, make("option", { value: "" }, "all"), ...options.map(([value, text]) => make("option", { value }, text)));
    const used = (labels) => [...new Set(labels)].sort((a, b) => a - b).map((label) => [String(label), className(label)]);
    const bound = (name, label) => make("input", { type: "number", step: "any", autocomplete: "off", "data-filter": name, "aria-label": label, on: { input: set(name) } });
    const orders = [["", "as in the data set"], ...(own.score ? [["score", "highest score first"], ["-score", "lowest score first"]] : []),
      ...(own.size ? [["size", "largest change first"], ["-size", "smallest change first"]] : [])];
    const tabs = make("div", { class: "tabs", role: "group", "aria-label": "Kind of image" }, ...[{ key: "", title: "All", count: numbers.length }, ...kinds].map(({ key, title, count }) =>
      make("button", { type: "button", "data-kind": key, on: { click: () => {
        said.kind = key;
        said.page = "";
        render();
        changed(section);
      } } }, `${title} `, make("span", { class: "count" }, count.toLocaleString("en")))));
    const status = make("span", { class: "status", role: "status", "aria-live": "polite" });
    const order = choice("order", orders.slice(1));
    order.options[0].textContent = orders[0][1];
    const tools = make("div", { class: "tools", role: "group", "aria-label": "Search and filter images" },
      field("Class", choice("class", used(block.y))), field("Answer", choice("answer", used(own.label))),
      field("Name", make("input", { type: "search", autocomplete: "off", placeholder: "part of a name", "data-filter": "find", on: { input: set("find") } })));
    if (own.score) tools.append(make("div", { class: "range", role: "group", "aria-label": "Score" }, make("span", {}, "Score"), bound("min", "Score, at least"), " – ", bound("max", "Score, at most")));
    tools.append(field("Order", order), make("button", { type: "button", on: { click: () => {
      for (const name of Object.keys(said)) said[name] = "";
      render();
      changed(section);
    } } }, "Reset"), status);
    const definition = make("p", { class: "small muted" });
    const cards = make("ul", { class: "cards many", role: "list" });
    const told = make("span", {});
    const turn = (by) => () => {
      said.page = String((Number(said.page) || 1) + by);
      render();
      changed(section);
      cards.querySelector("button")?.focus({ preventScroll: true });
      tabs.scrollIntoView({ block: "nearest" });
    };
    const previous = make("button", { type: "button", on: { click: turn(-1) } }, "← previous");
    const next = make("button", { type: "button", on: { click: turn(1) } }, "next →");
    const pager = make("p", { class: "pager" }, previous, told, next);
    const left = block.kept ? [make("p", { class: "small muted" }, `Pictures of ${block.kept.length.toLocaleString("en")} of ${numbers.length.toLocaleString("en")} images were kept, chosen by a digest of their names, the same ones for each attack.`)] : [];
    all(".stratum, .tabs, .chosen", section).forEach((part) => part.remove());
    section.append(tabs, tools, definition, ...left, cards, pager);

    function chosen() {
      const kind = kinds.find(({ key }) => key === said.kind);
      const part = said.find.toLowerCase();
      const [min, max] = [said.min === "" ? -Infinity : Number(said.min), said.max === "" ? Infinity : Number(said.max)];
      const found = numbers.filter((number) =>
        (!kind || kind.of(number)) && (said.class === "" || String(block.y[number]) === said.class) &&
        (said.answer === "" || String(own.label[number]) === said.answer) && (!part || block.names[number].toLowerCase().includes(part)) &&
        (!own.score || (min === -Infinity && max === Infinity) || (own.score[number] !== null && own.score[number] >= min && own.score[number] <= max)));
      const by = said.order.replace("-", "");
      if (!orders.some(([value]) => value === said.order) || !by) return found;
      const sign = said.order[0] === "-" ? 1 : -1;
      return found.sort((a, b) => (own[by][a] === null) - (own[by][b] === null) || sign * (own[by][a] - own[by][b]) || a - b);
    }

    let shown = [];
    function card(number) {
      const images = make("span", { class: "pictures" });
      for (const [label, sheets] of attacked ? [["Clean", block.sheets], ["Attacked", own.sheets]] : [["Clean", block.sheets]]) {
        if (!pictured(number, sheets)) continue;
        const drawn = canvas("");
        paint(drawn, sheets, number).catch(() => {});
        images.append(make("span", { class: "one" }, drawn, make("span", { class: "caption" }, label)));
      }
      if (!images.childElementCount) images.append(make("span", { class: "muted small" }, "no picture kept"));
      const name = block.names[number];
      return make("li", { class: "card", "data-sample": name },
        make("p", { class: "name-line" }, make("bdi", {}, className(block.y[number])), make("bdi", { class: "muted small" }, name)),
        make("button", { type: "button", class: "zoom", "aria-haspopup": "dialog", "aria-label": `Open ${name}, of class ${className(block.y[number])}`, on: { click: () => {
          said.image = name;
          view();
          changed(section, true);
        } } }, images),
        verdicts(number),
        make("p", { class: "small muted" }, [kindTitle(number), alarm.has(number) && attacked ? "false alarm on the clean image" : "", size(number)].filter(Boolean).join(" · ")));
    }
    function render() {
      shown = chosen();
      const pages = Math.max(1, Math.ceil(shown.length / PAGE));
      const page = Math.min(pages, Math.max(1, Math.floor(Number(said.page)) || 1));
      said.page = page === 1 ? "" : String(page);
      for (const control of all("[data-filter]", tools)) if (control.value !== said[control.dataset.filter]) control.value = said[control.dataset.filter];
      for (const control of all("select", tools)) if (control.selectedIndex < 0) control.value = said[control.dataset.filter] = "";
      all("button", tabs).forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.kind === (kinds.some(({ key }) => key === said.kind) ? said.kind : ""))));
      definition.textContent = kinds.find(({ key }) => key === said.kind)?.definition ?? "";
      status.textContent = `${shown.length.toLocaleString("en")} of ${numbers.length.toLocaleString("en")} images`;
      cards.replaceChildren(...shown.slice(PAGE * (page - 1), PAGE * page).map(card));
      told.textContent = `page ${page} of ${pages}`;
      pager.hidden = pages === 1;
      previous.disabled = page === 1;
      next.disabled = page === pages;
    }

    // -- one image

    let dialog = null;
    let flicker = 0;
    function close() {
      clearInterval(flicker);
      flicker = 0;
      dialog?.remove();
      dialog = null;
    }
    function view() {
      const number = block.names.indexOf(said.image);
      if (number < 0) {
        said.image = "";
        if (dialog) close();
        return;
      }
      if (dialog?.dataset.sample === said.image) return;
      const focused = dialog && dialog.contains(document.activeElement) ? document.activeElement.dataset.act : "";
      close();
      const name = said.image;
      const title = make("h2", { id: "viewer-h" }, make("bdi", {}, className(block.y[number])), " ", make("bdi", { class: "muted small" }, name));
      let zoom = Math.max(1, Math.floor(256 / block.width));
      const figures = make("div", { class: "pictures", role: "region", tabindex: "0", "aria-label": "Pictures" });
      const drawn = [];
      const figure = (label, sheets, ...more) => {
        const image = canvas(`${label} image of class ${className(block.y[number])}`);
        paint(image, sheets, number, ...more).catch(() => {});
        drawn.push(image);
        const made = make("figure", {}, image, make("figcaption", {}, label));
        figures.append(made);
        return made;
      };
      let pair = null;
      if (!pictured(number, attacked ? own.sheets : block.sheets)) figures.append(make("p", { class: "muted" }, "No picture of this image was kept."));
      else if (attacked) {
        const amount = norm === "L∞" && own.size?.[number] > 0 ? Math.min(6, Math.max(0, Math.floor(-Math.log2(own.size[number])))) : 3;
        pair = [figure("Clean", block.sheets), figure("Attacked", own.sheets)];
        figure(`Change × ${2 ** amount}, black is none`, own.sheets, block.sheets, amount);
      } else figure("Clean", block.sheets);
      const factor = make("output", {});
      const enlarge = (by) => {
        zoom = Math.min(64, Math.max(1, by > 0 ? Math.ceil(zoom * 1.5) : Math.floor(zoom / 1.5)));
        resize();
      };
      const resize = () => {
        drawn.forEach((image) => (image.style.width = `${block.width * zoom}px`));
        factor.textContent = `× ${zoom}`;
      };
      const step = (by) => {
        const to = shown[shown.indexOf(number) + by];
        if (to === undefined) return;
        said.image = block.names[to];
        view();
        changed(section);
      };
      const act = (key, text, action, more = {}) => make("button", { type: "button", "data-act": key, ...more, on: { click: action } }, text);
      const blink = act("flicker", "Flicker (F)", () => {
        clearInterval(flicker);
        const on = blink.getAttribute("aria-pressed") === "false";
        blink.setAttribute("aria-pressed", String(on));
        figures.classList.toggle("flickering", on);
        let turn = 0;
        const swap = () => pair.forEach((one, n) => (one.hidden = on && n !== turn % 2));
        swap();
        // Two changes a second: below what may harm.
        if (on) flicker = setInterval(() => { turn++; swap(); }, 500);
      }, { "aria-pressed": "false" });
      const note = make("span", { role: "status", "aria-live": "polite" });
      const bar = make("p", { class: "acts" },
        act("previous", "← previous", () => step(-1)), act("next", "next →", () => step(1)),
        ...(pair ? [blink] : []), act("smaller", "−", () => enlarge(-1), { "aria-label": "Zoom out" }), factor, act("larger", "+", () => enlarge(1), { "aria-label": "Zoom in" }),
        act("copy", "Copy link", async () => {
          await copy(location.href);
          note.textContent = "Link copied";
        }), act("close", "Close", () => dialog.close()), note);
      const made = make("dialog", { class: "viewer", "aria-labelledby": "viewer-h", "data-sample": name }, title, bar, figures, verdicts(number),
        make("p", { class: "small muted" }, [kindTitle(number), size(number)].filter(Boolean).join(" · ")), parts(number), make("div", { class: "across" }));
      dialog = made;
      one('[data-act="previous"]', made).disabled = shown.indexOf(number) <= 0;
      one('[data-act="next"]', made).disabled = shown.indexOf(number) < 0 || shown.indexOf(number) === shown.length - 1;
      made.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.altKey || event.metaKey || (event.target === figures && event.key.startsWith("Arrow"))) return;
        const wanted = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), f: () => pair && blink.click(), "+": () => enlarge(1), "-": () => enlarge(-1) }[event.key];
        if (!wanted) return;
        event.preventDefault();
        wanted();
      });
      made.addEventListener("close", () => {
        if (dialog !== made) return;
        close();
        said.image = "";
        changed(section);
        all(".card", cards).find((other) => other.dataset.sample === name)?.querySelector("button").focus();
      });
      document.body.append(made);
      resize();
      made.showModal();
      (one(`[data-act="${focused || "next"}"]:not(:disabled)`, made) || one('[data-act="close"]', made)).focus();
      across(one(".across", made), number);
    }

    // What the panels of plugins show: boxes, bars, facts.
    const SVG = "http://www.w3.org/2000/svg";
    const shape = (tag, attributes) => {
      const element = document.createElementNS(SVG, tag);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      return element;
    };
    function part(number, { of, ...about }) {
      if (of === "facts") return make("dl", { class: "facts small" }, ...about.rows.flatMap(([key, value]) => [make("dt", {}, make("bdi", {}, key)), make("dd", {}, make("bdi", {}, value))]));
      if (of === "bars") {
        const bar = (value) => {
          const svg = shape("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
          svg.append(shape("rect", { class: "track", width: 100, height: 10 }), shape("rect", { class: "fill", width: 100 * Math.min(1, Math.max(0, value)), height: 10 }));
          return svg;
        };
        return make("div", {}, make("p", { class: "small" }, make("strong", {}, about.title)), make("ul", { class: "bars", role: "list" },
          ...about.rows.map((row) => make("li", { class: row.marked ? "marked" : null }, make("bdi", {}, row.name), bar(row.value), make("span", { class: "num" }, row.text)))));
      }
      const sheets = about.which === "clean" ? block.sheets : own.sheets;
      const stage = make("div", { class: "stage" });
      if (pictured(number, sheets)) {
        const image = canvas(`${about.caption} with ${about.boxes.length} boxes: ${about.boxes.map((box) => box.name).join(", ")}`);
        paint(image, sheets, number).catch(() => {});
        const svg = shape("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
        svg.append(...about.boxes.map((box) => shape("rect", { class: box.tone, x: box.x0, y: box.y0, width: Math.max(0, box.x1 - box.x0), height: Math.max(0, box.y1 - box.y0) })));
        stage.append(image, svg);
      }
      return make("figure", { class: "boxed" }, stage, make("figcaption", {}, make("bdi", {}, about.caption),
        make("span", { class: "boxes" }, ...about.boxes.map((box) => make("span", { class: `tag ${box.tone}` }, make("bdi", {}, box.name))))));
    }
    const parts = (number) =>
      make("div", { class: "panels" }, ...(own.parts[number] ?? []).map((panel) => make("section", { class: "panel" }, make("h3", {}, panel.title), ...panel.parts.map((of) => part(number, of)))));

    // The same image in the other cells: each defense against each attack, or what crosses here in a large block.
    async function across(box, number) {
      const here = block.cells.find(({ data }) => stem(data) === stem(section.dataset.samples));
      const cells = block.cells.length <= MOST_CELLS ? block.cells : block.cells.filter((cell) => cell.defense === here.defense || cell.attack === here.attack);
      const found = await Promise.all(cells.map((cell) => load(`${root}${cell.data}`).then((data) => ({ ...cell, of: data[seed] }), () => null)));
      const known = found.filter((cell) => cell?.of && cell.of.label[number] !== undefined);
      if (!box.isConnected || known.length < 2) return;
      const defenses = [...new Set(known.map((cell) => cell.defense))];
      const attacks = [...new Set(known.map((cell) => cell.attack))];
      const entry = (defense, attack) => {
        const cell = known.find((other) => other.defense === defense && other.attack === attack);
        if (!cell) return make("td", { class: "absent" }, "–");
        const made = answer(cell.of, number);
        const sheets = attack === "none" ? block.sheets : cell.of.sheets;
        const anchor = make("a", { href: link(root, cell.page, `${key("image")}=${encodeURIComponent(said.image)}`) });
        if (pictured(number, sheets)) {
          const image = canvas(`${attack === "none" ? "Clean" : attack} image`);
          paint(image, sheets, number).catch(() => {});
          anchor.append(image);
        } else anchor.append("open");
        if (cell === known.find(({ data }) => data === here.data)) made.setAttribute("aria-current", "true");
        made.prepend(anchor);
        made.append(flag(cell.of, number));
        return made;
      };
      box.append(make("h3", { id: "across-h" }, "The same image across defenses and attacks"),
        make("div", { class: "scroll", role: "region", tabindex: "0", "aria-labelledby": "across-h" }, make("table", { class: "same" },
          make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "corner" }, "Attack"), ...defenses.map((defense) => make("th", { scope: "col" }, make("bdi", {}, defense))))),
          make("tbody", {}, ...attacks.map((attack) => make("tr", {}, make("th", { scope: "row" }, attack === "none" ? "clean" : make("bdi", {}, attack)), ...defenses.map((defense) => entry(defense, attack))))))));
    }

    section.closest(".sheet").addEventListener("left", () => {
      close();
      said.image = "";
    });
    return () => {
      render();
      view();
    };
  }

  features.push((sheet) => all("[data-samples]", sheet).forEach(browser));
})();
