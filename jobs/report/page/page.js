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
      const was = head.getAttribute("aria-sort");
      const down = was === "ascending" || (was === null && numbers);
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
      const compare = (a, b) => numbers ? Number(a) - Number(b) : a < b ? -1 : a > b ? 1 : 0;
      const rows = Array.from(body.rows, (row) => [key(row), row]);
      rows.sort(([a], [b]) => a === "" || b === "" ? (a === "") - (b === "") : (down ? -1 : 1) * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
const place = document.getElementById("filter");
if (place) {
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "Only symbols with …";
  input.setAttribute("aria-label", "Show only the rows of symbols whose name holds this");
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toUpperCase();
    for (const row of document.querySelectorAll("tr[data-s]")) {
      row.hidden = !row.dataset.s.toUpperCase().includes(wanted);
    }
  });
  place.append(input);
}
