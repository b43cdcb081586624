// Keys and ticks of the team's desk. Every page works without it.
const typing = (element) => element.matches("input:not([type=checkbox]):not([type=radio]), textarea, select");
const items = [...document.querySelectorAll("[data-item]")];
const focusOn = (item) => item && (item.querySelector("input[type=radio]:checked") || item.querySelector("input:not([type=hidden])")).focus();
document.addEventListener("keydown", (event) => {
  if (typing(event.target) || event.ctrlKey || event.altKey || event.metaKey) return;
  // Where letters are not Latin, a key is known by its place.
  const latin = event.key.length > 1 || /[\x20-\x7e]/.test(event.key);
  const key = (latin ? event.key : event.code.replace(/^Key/, "")).toLowerCase();
  const button = document.querySelector(`[data-desk-key="${CSS.escape(key)}"]`);
  const place = items.findIndex((item) => item.contains(document.activeElement));
  if (button) {
    button.click();
    const field = button.dataset.then && document.getElementById(button.dataset.then);
    if (field) field.focus();
  } else if (items.length && key === "j") focusOn(items[Math.min(place + 1, items.length - 1)]);
  else if (items.length && key === "k") focusOn(items[Math.max(place - 1, 0)]);
  else if (items.length && key === "r") document.getElementById("reason").focus();
  else if (place >= 0 && /^[1-9]$/.test(key)) {
    const chosen = items[place].querySelectorAll("input[type=radio]")[Number(key) - 1];
    if (chosen) { chosen.click(); chosen.focus(); }
  } else return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);
// A group's box ticks its statements, where one sees it.
const boxOf = (id) => document.querySelector(`input[name=statement][value="${CSS.escape(id)}"]`);
for (const group of document.querySelectorAll("[data-ticks]")) {
  group.addEventListener("change", () => {
    const members = group.dataset.ticks.split(" ").slice("afterFirst" in group.dataset ? 1 : 0);
    for (const box of members.map(boxOf)) if (box) box.checked = group.checked;
    group.removeAttribute("name");
  });
}
// Shift and a click tick everything since the last click.
let last = null;
const boxes = [...document.querySelectorAll("input[name=statement]")];
for (const box of boxes) {
  box.addEventListener("click", (event) => {
    if (event.shiftKey && last !== null) {
      const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((one, other) => one - other);
      for (const each of boxes.slice(from, to + 1)) each.checked = box.checked;
    }
    last = box;
  });
}
