// Keys, no form sent twice, and an answer without loading the page anew. Every page works without it.
const LONGEST_WAIT = 20000; // milliseconds
const prepare = () => {
  for (const hint of document.querySelectorAll(".keys")) hint.hidden = false;
};
prepare();
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  // One at a time: of an answer and its undo at once, the page would show whichever came back last.
  if (document.querySelector("form[data-sent]")) return event.preventDefault();
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
// What is no page of the portal's, from a proxy or from nowhere, is for the browser; the same answer twice counts once.
async function answer(form, button) {
  if (button.name) form.append(Object.assign(document.createElement("input"), { type: "hidden", name: button.name, value: button.value }));
  const token = form.elements.csrfmiddlewaretoken, main = document.querySelector("main"), root = document.documentElement;
  let got, text;
  try {
    const body = new URLSearchParams(new FormData(form)), signal = AbortSignal.timeout(LONGEST_WAIT);
    got = await fetch(form.action, { method: "POST", body, signal, headers: { "X-Part": "main" } });
    text = await got.text();
  } catch {
    return form.submit();
  }
  const language = got.headers.get("Content-Language");
  if (!language) return form.submit();
  if (got.headers.has("X-Part")) {
    if (language !== root.lang) return location.replace(form.dataset.part); // chosen meanwhile in another tab
    main.innerHTML = text;
    for (const each of main.querySelectorAll("form")) each.prepend(token.cloneNode());
  } else {
    const page = new DOMParser().parseFromString(text, "text/html");
    document.title = page.title;
    [root.lang, root.dir] = [page.documentElement.lang, page.documentElement.dir];
    document.body.replaceWith(page.body);
  }
  history.replaceState(null, "", form.dataset.part);
  prepare();
  scrollTo(0, 0);
  // What is new is read aloud, and Tab goes on from there.
  (document.getElementById("now") || document.querySelector("main") || document.body).focus({ preventScroll: true });
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select");
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
