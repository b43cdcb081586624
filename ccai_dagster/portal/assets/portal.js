// Keys, no form sent twice, and an answer without loading the page anew. Every page works without it.
const prepare = () => {
  for (const hint of document.querySelectorAll(".keys")) hint.hidden = false;
};
prepare();
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  for (const waiting of form.querySelectorAll(".waiting")) waiting.hidden = false;
  // A browser that does not tell which button it was sends the form as it always did.
  if (!("part" in form.dataset) || !event.submitter) return;
  event.preventDefault();
  answer(form, event.submitter);
});
// The second of two quick clicks lands on the next page where that is fast, and would answer what nobody has read.
document.addEventListener("click", (event) => {
  if (event.detail > 1 && event.target.closest("form[data-once] button")) event.preventDefault();
});
// A page that the browser kept may be sent again.
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-once]").forEach((form) => delete form.dataset.sent));

// Sends a form and puts what comes back in place: the part that changes, or, if something is the matter, a whole page.
async function answer(form, button) {
  if (button.name) form.append(Object.assign(document.createElement("input"), { type: "hidden", name: button.name, value: button.value }));
  const token = form.elements.csrfmiddlewaretoken, main = document.querySelector("main");
  let got, text;
  try {
    got = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "X-Part": "main" } });
    text = await got.text();
  } catch {
    return form.submit(); // the browser says what is the matter; the same answer twice counts once
  }
  if (got.headers.has("X-Part")) {
    main.innerHTML = text;
    for (const each of main.querySelectorAll("form")) each.prepend(token.cloneNode());
  } else {
    const page = new DOMParser().parseFromString(text, "text/html");
    document.title = page.title;
    document.body.replaceWith(page.body);
  }
  history.replaceState(null, "", form.dataset.part);
  prepare();
  scrollTo(0, 0);
  // What is new is read aloud, and Tab goes on from there.
  (document.getElementById("now") || document.querySelector("main") || document.body).focus({ preventScroll: true });
}

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
