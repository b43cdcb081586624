(function () {
  "use strict";
  var form = document.getElementById("search");
  var field = document.getElementById("search-text");
  var note = document.getElementById("search-note");
  var clear = form.querySelector("button[type=reset]");
  var content = document.getElementById("content");
  var lists = list("select", form);
  var ITEM = "[data-item], .items > :is(li, details, tr[id])";
  var SHOWN = ":is(" + ITEM + "):not([hidden])";
  var items = list(ITEM, content);
  var folds = list("details", content);
  var groups = list("section, details.fold, .items > details, .part", content);
  var texts = items.map(function (item) { return plain(textOf(item) + " " + decision(item)); });
  var opened = [];
  var printed = [];

  function list(selector, within) {
    return Array.prototype.slice.call(within.querySelectorAll(selector));
  }
  function plain(text) {
    // Names of values are written with spaces in sentences and with underscores in ledgers.
    return text.toLowerCase().replace(/_/g, " ");
  }
  function textOf(item) {
    // Nothing stands between two cells.
    return item.cells ? list("td", item).map(textOf).join(" ") : item.textContent;
  }
  function decision(item) {
    // What is decided on many at once, or has ids that follow from the statement's number, is said once for all.
    var held = item.parentElement.dataset;
    var numbered = (held.ids || "").split(" ").filter(Boolean);
    return numbered.map(function (id) { return id + item.id.slice(1); }).concat(held.decision || []).join(" ");
  }
  function fits(item, text, words) {
    return lists.every(function (each) {
      // A fold tells for all entries in it what they would all say.
      var holder = item.closest("[data-" + each.name + "]");
      var own = holder ? holder.dataset[each.name] : "";
      return !each.value || (each.name === "marks" ? own.split(" ").indexOf(each.value) !== -1 : own === each.value);
    }) && words.every(function (word) { return word.test(text); });
  }
  function sought(word) {
    // A number or an id is meant whole: 42 is neither in 142 nor in 0.42, P1 not in P12.
    var literal = word.replace(/[^\w\s]/g, "\\$&");
    return new RegExp(/\d/.test(word) ? "(^|[^\\w.,])" + literal + "(?!\\w|[.,]\\d)" : literal);
  }
  function search() {
    var words = plain(field.value).split(/\s+/).filter(Boolean).map(sought);
    var active = words.length > 0 || lists.some(function (each) { return each.value; });
    var shown = items.filter(function (item, place) {
      var found = !active || fits(item, texts[place], words);
      item.hidden = !found;
      return found;
    });
    opened.forEach(function (fold) { fold.open = false; });
    opened = [];
    content.classList.toggle("searching", active);
    groups.forEach(function (group) {
      var holds = !active || group.matches(SHOWN) || group.querySelector(SHOWN);
      group.classList.toggle("empty", !holds);
      // An entry that is a fold is opened for what stands in it, and stays one line for a choice from a list.
      if (active && holds && (words.length || !group.matches(ITEM)) && group.matches("details:not([open])")) {
        group.open = true;
        opened.push(group);
      }
    });
    clear.hidden = !active;
    if (active && content.getBoundingClientRect().top < 0) { window.scrollTo(0, content.offsetTop - form.offsetHeight); }
    note.textContent = active ? note.dataset.found.replace("{shown}", shown.length).replace("{all}", items.length) : "";
  }
  function everything() {
    field.value = "";
    lists.forEach(function (each) { each.value = ""; });
    search();
  }
  function reveal() {
    // Addresses of earlier pages had a longer name for a statement.
    var target = document.getElementById(decodeURIComponent(location.hash.slice(1)).replace(/^statement-(?=\d)/, "s"));
    if (!target || !content.contains(target)) { return; }
    if (target.closest("[hidden], .empty")) { everything(); }
    for (var fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) { fold.open = true; }
    target.scrollIntoView();
  }
  function makeRoom() {
    // What a link leads to must not lie under the bar.
    document.documentElement.style.scrollPaddingTop = form.offsetHeight + 8 + "px";
  }
  form.hidden = false;
  makeRoom();
  window.addEventListener("resize", makeRoom);
  form.addEventListener("submit", function (event) { event.preventDefault(); search(); });
  form.addEventListener("reset", function (event) { event.preventDefault(); everything(); field.focus(); });
  field.addEventListener("input", search);
  field.addEventListener("keydown", function (event) { if (event.key === "Escape") { field.value = ""; search(); } });
  lists.forEach(function (each) { each.addEventListener("change", search); });
  window.addEventListener("hashchange", reveal);
  document.addEventListener("click", function (event) {
    var link = event.target.closest("a[href^='#']");
    if (link && link.getAttribute("href") === location.hash) { reveal(); }
  });
  window.addEventListener("beforeprint", function () {
    printed = folds.filter(function (fold) { return !fold.open; });
    printed.forEach(function (fold) { fold.open = true; });
  });
  window.addEventListener("afterprint", function () {
    printed.forEach(function (fold) { fold.open = false; });
  });
  search();
  reveal();
}());
