// The leaderboard: what is shown of it, kept in the address as in a report.
"use strict";
(() => {
  const { all, one, make, rememberFilter, changed, features } = window.bench;
  const AXES = ["dataset", "model", "knowledge", "group"];

  function board(section) {
    const tools = one(".tools", section);
    const bodies = all("tbody", section);
    const tool = (name) => one(`[data-tool="${name}"]`, tools);
    for (const axis of AXES) {
      const values = [...new Set(bodies.map((body) => body.dataset[axis]))];
      values.forEach((value) => tool(axis).append(make("option", { value }, value)));
      if (values.length < 2) tool(axis).parentElement.hidden = true;
    }
    function filter() {
      const name = tool("defense").value.toLowerCase();
      let shown = 0;
      for (const body of bodies) {
        const fits = AXES.every((axis) => !tool(axis).value || body.dataset[axis] === tool(axis).value);
        const rows = all("tr[data-defense]", body);
        rows.forEach((row) => (row.hidden = !row.dataset.defense.toLowerCase().includes(name)));
        const left = fits ? rows.filter((row) => !row.hidden).length : 0;
        body.hidden = left === 0;
        shown += left;
      }
      const filtered = name || AXES.some((axis) => tool(axis).value);
      tool("status").textContent = filtered ? `${shown} ${shown === 1 ? "row" : "rows"} shown` : "";
    }
    for (const axis of [...AXES, "defense"]) rememberFilter(section, axis, tool(axis), filter);
    tool("reset").addEventListener("click", () => {
      for (const axis of [...AXES, "defense"]) tool(axis).value = "";
      filter();
      changed(section);
    });
    tools.hidden = false;
  }

  features.push((sheet) => all("[data-board]", sheet).forEach(board));
})();
