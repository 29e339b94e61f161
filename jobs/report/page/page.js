"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = head.classList.contains("n");
      const order = head.getAttribute("aria-sort");
      const descending = order === "ascending" || (order === null && numbers);
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
      const compare = (a, b) => numbers ? Number(a) - Number(b) : a < b ? -1 : a > b ? 1 : 0;
      const rows = Array.from(body.rows, (row) => [key(row), row]);
      rows.sort(([a], [b]) => a === "" || b === "" ? (a === "") - (b === "") : (descending ? -1 : 1) * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
const filter = document.getElementById("filter");
if (filter) {
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "Filter symbols";
  input.setAttribute("aria-label", "Show only the rows of symbols that contain this text");
  input.addEventListener("input", () => {
    const text = input.value.trim().toUpperCase();
    for (const row of document.querySelectorAll("tr[data-s]")) {
      row.hidden = !row.dataset.s.toUpperCase().includes(text);
    }
  });
  filter.append(input);
}
