// Keys, and no form sent twice. Every page works without it.
for (const hint of document.querySelectorAll(".keys")) hint.hidden = false;
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    for (const waiting of form.querySelectorAll(".waiting")) waiting.hidden = false;
  });
  // The second of two quick clicks lands on the next page where that is fast, and would answer what nobody has read.
  form.addEventListener("click", (event) => {
    if (event.detail > 1 && event.target.closest("button")) event.preventDefault();
  });
}
// A page that the browser kept may be sent again.
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-once]").forEach((form) => delete form.dataset.sent));
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]):not([type=radio]), textarea");
  if (typing || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  // Where letters are not Latin, a key is known by its place.
  const latin = event.key.length > 1 || /[\x20-\x7e]/.test(event.key);
  const key = (latin ? event.key : event.code.replace(/^Key/, "")).toLowerCase();
  const wanted = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  const boxes = [...document.querySelectorAll(".queue input[type=checkbox]")];
  const place = boxes.indexOf(document.activeElement);
  if (wanted) {
    wanted.click();
    if (wanted.type === "radio") document.getElementById(key === "o" ? "text" : "reason").focus();
  } else if (boxes.length && key === "j") boxes[Math.min(place + 1, boxes.length - 1)].focus();
  else if (boxes.length && key === "k") boxes[Math.max(place - 1, 0)].focus();
  else if (place >= 0 && key === "x") boxes[place].click();
  else return;
  event.preventDefault();
});
