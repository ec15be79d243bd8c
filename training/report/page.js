"use strict";
for (const table of document.querySelectorAll("table.numbers")) {
  const heads = [...table.querySelectorAll("tr.headings th")];
  heads.forEach((head, index) => {
    head.querySelector("button").addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      // The first click puts the best on top.
      const first = head.dataset.better === "higher" ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const way = was === first ? other : first;
      heads.forEach((each) => each.setAttribute("aria-sort", each === head ? way : "none"));
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [row.cells[index].dataset.value, row]);
      rows.sort(([a], [b]) => {
        // What has no number stays at the end, whichever way.
        if (a === "") return b === "" ? 0 : 1;
        if (b === "") return -1;
        const order = index === 0 ? a.localeCompare(b) : Number(a) - Number(b);
        return way === "ascending" ? order : -order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
const filters = [...document.querySelectorAll(".filters button")];
for (const filter of filters) {
  filter.addEventListener("click", () => {
    filters.forEach((each) => each.setAttribute("aria-pressed", String(each === filter)));
    for (const section of document.querySelectorAll("section[data-group]")) {
      section.hidden = !["", section.dataset.group].includes(filter.dataset.shows);
    }
  });
}
