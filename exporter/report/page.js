"use strict";
// Sorting and filtering. The page is complete without them.
(() => {
  const plain = new Intl.Collator("en", {numeric: true, sensitivity: "base"});
  const key = (row, i) => {
    const cell = row.cells[i];
    return cell.dataset.s !== undefined ? cell.dataset.s : cell.textContent.trim();
  };
  // What the reader chose for each table, which stays when the table is replaced.
  const chosen = new Map();
  const choice = table => {
    if (!chosen.has(table.id)) chosen.set(table.id, {column: -1, down: false, filter: ""});
    return chosen.get(table.id);
  };
  const sort = table => {
    const {column, down} = choice(table);
    if (column < 0) return;
    Array.from(table.tHead.rows[0].cells).forEach((th, i) => th.setAttribute("aria-sort", i !== column ? "none" : down ? "descending" : "ascending"));
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, row => [key(row, column), row]);
    const numbers = rows.every(([k]) => k === "" || !isNaN(k));
    rows.sort(([a], [b]) => (numbers ? a - b : plain.compare(a, b)) * (down ? -1 : 1));
    body.append(...rows.map(([, row]) => row));
  };
  const filters = new Map();
  const filtering = table => {
    const rows = Array.from(table.tBodies[0].rows);
    if (table.id === "roles-t" || rows.length < 6 && table.id !== "connections-t" && !choice(table).filter) return;
    const tools = document.createElement("div"), label = document.createElement("label"), input = document.createElement("input"),
      output = document.createElement("output");
    tools.className = "tools";
    input.type = "search";
    input.setAttribute("aria-controls", table.id);
    output.setAttribute("aria-live", "polite");
    label.append("Filter rows", input);
    tools.append(label, output);
    table.closest(".scroll").before(tools);
    const texts = [];
    const apply = () => {
      choice(table).filter = input.value;
      const wanted = input.value.trim().toLowerCase();
      let n = 0;
      rows.forEach((row, i) => {
        if (texts[i] === undefined) texts[i] = Array.from(row.cells, c => c.textContent).join("\n").toLowerCase();
        const show = texts[i].includes(wanted);
        if (row.hidden === show) row.hidden = !show;
        if (show) n++;
      });
      output.textContent = wanted ? n + " of " + rows.length + " rows" : "";
    };
    input.addEventListener("input", apply);
    filters.set(table.id, text => { input.value = text; apply(); });
    if (choice(table).filter) filters.get(table.id)(choice(table).filter);
  };
  const enhance = table => {
    Array.from(table.tHead.rows[0].cells).forEach((th, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      th.append(button);
      th.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const c = choice(table);
        c.down = c.column === i && !c.down;
        c.column = i;
        sort(table);
      });
    });
    sort(table);
    filtering(table);
  };
  document.querySelectorAll("main table").forEach(enhance);
  document.addEventListener("exspan-replaced", event => event.target.querySelectorAll("table").forEach(enhance));
  const open = id => {
    const section = document.getElementById(id), details = section && section.querySelector("details");
    if (details) details.open = true;
  };
  document.addEventListener("click", event => {
    const link = event.target.closest && event.target.closest("a[href^='#']");
    if (!link) return;
    let id = link.getAttribute("href").slice(1), wanted = link.dataset.f;
    // An arrow of the diagram leads to the first of its connections, and shows them alone.
    if (id.startsWith("arrow-")) { wanted = "(" + id.slice(6) + ")"; id = "connections"; }
    open(id);
    const filter = filters.get(id + "-t");
    if (wanted !== undefined && filter) filter(wanted);
  });
  if (location.hash) open(location.hash.slice(1));
})();
