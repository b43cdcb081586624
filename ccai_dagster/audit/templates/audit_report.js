(function () {
  "use strict";
  var form = document.getElementById("search");
  var field = document.getElementById("search-text");
  var note = document.getElementById("search-note");
  var items = Array.prototype.slice.call(document.querySelectorAll("[data-item]"));
  var texts = items.map(function (item) { return item.textContent.toLowerCase(); });
  function search() {
    var words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    var shown = 0;
    items.forEach(function (item, place) {
      var fits = words.every(function (word) { return texts[place].indexOf(word) !== -1; });
      item.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    note.textContent = words.length ? shown + " of " + items.length + " entries" : "";
  }
  function reveal() {
    var target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && (target.hidden || target.closest("[hidden]"))) {
      field.value = "";
      search();
      target.scrollIntoView();
    }
  }
  form.hidden = false;
  form.addEventListener("submit", function (event) { event.preventDefault(); search(); });
  field.addEventListener("input", search);
  window.addEventListener("hashchange", reveal);
}());
