(function () {
  "use strict";
  function value(row, j) {
    var text = row.cells[j].textContent.trim();
    var number = parseFloat(text.replace(/[<,]/g, ""));
    return { text: text, number: number };
  }
  function sort(table, j, up) {
    var body = table.tBodies[0];
    var rows = Array.prototype.slice.call(body.rows);
    var numeric = table.tHead.rows[0].cells[j].classList.contains("n");
    rows.sort(function (a, b) {
      var x = value(a, j), y = value(b, j);
      if (x.text === "" || y.text === "") { return (x.text === "") - (y.text === ""); }
      var order = numeric ? x.number - y.number
        : x.text.localeCompare(y.text, undefined, { numeric: true });
      return up ? order : -order;
    });
    rows.forEach(function (row) { body.appendChild(row); });
  }
  function sortable(table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, j) {
      var button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      while (head.firstChild) { button.appendChild(head.firstChild); }
      head.appendChild(button);
      button.addEventListener("click", function () {
        var up = head.getAttribute("aria-sort") !== "ascending";
        Array.prototype.forEach.call(table.tHead.rows[0].cells, function (other) {
          other.removeAttribute("aria-sort");
        });
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, j, up);
      });
    });
  }
  function filtered(table) {
    var label = document.createElement("label");
    var input = document.createElement("input");
    label.className = "filter";
    label.textContent = "Filter rows ";
    input.type = "search";
    label.appendChild(input);
    input.addEventListener("input", function () {
      var words = input.value.toLowerCase().split(/\s+/);
      Array.prototype.forEach.call(table.tBodies[0].rows, function (row) {
        var text = row.textContent.toLowerCase();
        row.hidden = !words.every(function (word) { return text.indexOf(word) >= 0; });
      });
    });
    table.parentNode.parentNode.insertBefore(label, table.parentNode);
  }
  // what does not fit scrolls, by keyboard too
  function reachable(box) {
    if (box.scrollWidth > box.clientWidth) { box.tabIndex = 0; } else { box.removeAttribute("tabindex"); }
  }
  if (window.ResizeObserver) {
    var observer = new ResizeObserver(function (changes) {
      changes.forEach(function (change) { reachable(change.target); });
    });
    document.querySelectorAll(".picture").forEach(function (box) { observer.observe(box); });
  }
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("table.filtered").forEach(filtered);
})();
