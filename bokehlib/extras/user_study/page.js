"use strict";

// A plan drawn from one seed, three views of it, and the rows of a CSV file. No name of a method is
// in this page. The browser's storage keeps the answers, under the study's id.

const element = (id) => document.getElementById(id);
const study = JSON.parse(element("study").textContent);
const KEY = `user-study/${study.id}`;
const COLUMNS = ["study", "rater", "session", "experience", "screen", "case", "aspect", "result",
  "place", "rating", "seconds", "shown", "time"];
const SECONDS_PER_RATING = 8;

// --- Plan: the same seed always gives the same screens ---

function generator(seed) {
  // Mulberry32, by Tommy Ettinger: numbers in [0, 1) from 32 bits of state.
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function seedOf(text) {
  // FNV-1a over the study and the rater's number or session.
  let hash = 0x811c9dc5;
  for (const sign of `${study.id}/${text}`) hash = Math.imul(hash ^ sign.codePointAt(0), 16777619);
  return hash >>> 0;
}

function shuffled(items, random) {
  const list = [...items];
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

function latinSquare(size) {
  // Williams' design: each item is equally often at each place and behind each other item;
  // an odd size needs the mirrored rows too.
  const first = [0];
  for (let i = 1; i < size; i++) first.push(i % 2 ? (i + 1) / 2 : size - i / 2);
  const rows = first.map((_, shift) => first.map((item) => (item + shift) % size));
  return size % 2 ? rows.concat(rows.map((row) => [...row].reverse())) : rows;
}

function plan(seed, number) {
  // A given number fixes the row of the square, so that raters 1, 2, 3, ... fill it evenly; else
  // the row is drawn.
  const random = generator(seed);
  const square = latinSquare(study.cases[0].results.length);
  const drawn = Math.floor(random() * square.length);
  const row = number === null ? drawn : number % square.length;
  const offset = Math.floor(random() * study.aspects.length);
  const cases = shuffled(study.cases.keys(), random);
  const aspects = shuffled(cases.map((_, i) => (i + offset) % study.aspects.length), random);
  const screens = cases.flatMap((index, turn) =>
    square[(row + turn) % square.length].map((result, place) => ({
      case: index, turn, result, place,
      aspects: study.form === "all" ? study.aspects : [study.aspects[aspects[turn]]],
    })));
  return withChecks(screens, random);
}

function withChecks(screens, random) {
  // Attention checks, spread evenly: each repeats a screen and asks for a certain number.
  const places = [...Array(study.checks).keys()].map((k) =>
    Math.floor(((k + 0.25 + 0.5 * random()) / study.checks) * screens.length));
  for (const place of places.reverse()) {
    const check = [1, 2, 4, 5][Math.floor(random() * 4)];
    const words = `whatever the pictures show, choose ${check} here`;
    const aspects = [{ key: "check", title: "Attention check", words }];
    screens.splice(place, 0, { ...screens[place], check, aspects });
  }
  return screens;
}

// --- State ---

let state = null; // answers of the rater and the present screen
let screens = []; // the plan
let since = 0; // ms, when the present screen appeared

function save() {
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch {
    say("This browser keeps nothing: save your ratings before you close this page.");
  }
}

function restore() {
  try {
    state = JSON.parse(localStorage.getItem(KEY));
  } catch {
    state = null;
  }
  screens = state ? plan(state.seed, state.number) : [];
  show();
}

// --- Views ---

function say(text) {
  element("notice").hidden = !text;
  element("notice").textContent = text;
}

function show() {
  const view = !state ? "start" : state.finished ? "end" : "rate";
  for (const id of ["start", "rate", "end"]) element(id).hidden = id !== view;
  element("footer").hidden = view !== "rate";
  element("title").hidden = element("progress").hidden = view === "start";
  element("progress").value = view === "rate" ? state.at / screens.length : 1;
  element("place").textContent = "";
  if (view === "rate") showScreen();
  element(view).querySelector("h1").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function showScreen() {
  const screen = screens[state.at];
  const shown = study.cases[screen.case];
  const several = screen.aspects.length > 1;
  const letter = String.fromCharCode(65 + screen.place);
  element("place").textContent = `Photo ${screen.turn + 1} of ${study.cases.length}, ` +
    `picture ${letter} (${screen.place + 1} of ${shown.results.length})`;
  element("reference").src = shown.reference;
  element("result").src = shown.results[screen.result].image;
  element("result").alt = element("name").textContent = `Picture ${letter}`;
  element("rate").classList.toggle("several", several);
  element("question").replaceChildren(...(several
    ? [`Rate picture ${letter} in three ways, from 1 (worst) to 5 (best)`]
    : described(screen.aspects[0])));
  element("groups").replaceChildren(...screen.aspects.map((aspect) => scale(aspect, several)));
  element("back").disabled = state.at === 0;
  element("next").textContent = state.at === screens.length - 1 ? "Finish" : "Next";
  since = performance.now();
}

function described(aspect) {
  const title = document.createElement("b");
  title.textContent = aspect.title;
  return [title, `: ${aspect.words}`];
}

function scale(aspect, several) {
  const group = document.createElement("fieldset");
  const legend = document.createElement("legend");
  group.className = "scale";
  legend.append(...(several ? described(aspect) : ["Your rating, from 1 (worst) to 5 (best)"]));
  group.append(legend, ...[1, 2, 3, 4, 5].map((value) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: aspect.key, value, required: true });
    input.checked = state.answers[`${state.at}/${aspect.key}`]?.rating === value;
    input.addEventListener("change", () => rate(aspect.key, value));
    label.append(input, String(value));
    return label;
  }));
  return group;
}

// --- What a rater does ---

function begin(form) {
  const text = form.elements.number.value.trim();
  const number = text === "" ? null : Number(text);
  const random = crypto.getRandomValues(new Uint32Array(2));
  const session = [...random].map((word) => word.toString(36)).join("");
  const experience = form.elements.experience.value;
  state = { session, rater: number === null ? session : `n${number}`, number, experience,
    seed: seedOf(number ?? session), at: 0, answers: {}, finished: null };
  screens = plan(state.seed, number);
  save();
  show();
}

function rate(aspect, rating) {
  state.answers[`${state.at}/${aspect}`] = {
    rating,
    seconds: Math.round((performance.now() - since) / 100) / 10,
    shown: Math.round(element("result").getBoundingClientRect().width * devicePixelRatio),
    time: new Date().toISOString(),
  };
  save();
}

function go(step) {
  const to = state.at + step;
  if (to < 0) return;
  say("");
  if (to === screens.length) state.finished = new Date().toISOString();
  else state.at = to;
  save();
  show();
}

function forward() {
  const { at, answers } = state;
  if (screens[at].aspects.every((aspect) => answers[`${at}/${aspect.key}`])) go(1);
  else say("Please choose from 1 to 5 first.");
}

function press(event) {
  if (!state || state.finished || !element("shortcuts").checked) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (/^[1-5]$/.test(event.key)) {
    const groups = [...document.querySelectorAll(".scale")];
    const open = groups.find((group) => !group.querySelector(":checked"));
    const group = open ?? document.activeElement.closest(".scale") ?? groups.at(-1);
    const input = group.querySelector(`[value="${event.key}"]`);
    input.focus();
    input.click();
  } else if (event.key === "Enter" && !document.activeElement.closest("button, #scales")) {
    forward(); // inside the form, Enter submits it by itself
  } else if (event.key === "Backspace") {
    go(-1);
  } else return;
  event.preventDefault();
}

// --- The file that a rater sends back ---

function csv() {
  // One row per rating, in the order of the screens.
  const person = { study: study.id, rater: state.rater, session: state.session,
    experience: state.experience };
  const rows = screens.flatMap((screen, at) => screen.aspects.flatMap((aspect) => {
    const answer = state.answers[`${at}/${aspect.key}`];
    const shown = study.cases[screen.case];
    const result = screen.check ? `choose ${screen.check}` : shown.results[screen.result].code;
    return answer ? [{ ...person, screen: at + 1, case: shown.name, aspect: aspect.key, result,
      place: screen.place + 1, ...answer }] : [];
  }));
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = rows.map((row) => COLUMNS.map((name) => cell(row[name])).join(","));
  return `${[COLUMNS.join(","), ...lines].join("\n")}\n`;
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = `${study.id}-${state.rater}.csv`;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say(`Saved as ${link.download}, among your downloads.`);
}

function nextPerson() {
  try {
    localStorage.setItem(`${KEY}/done/${state.session}`, JSON.stringify(state));
    localStorage.removeItem(KEY);
  } catch {} // such a browser keeps nothing
  element("person").reset();
  say("");
  restore();
}

// --- Start ---

function prepare() {
  const pictures = study.cases.length * study.cases[0].results.length;
  const ratings = pictures * (study.form === "all" ? study.aspects.length : 1);
  element("amount").textContent = `${ratings} ratings`;
  element("minutes").textContent = `${Math.ceil((ratings * SECONDS_PER_RATING) / 60)} min`;
  element("aspects").append(...study.aspects.map((aspect) => {
    const item = document.createElement("li");
    item.append(...described(aspect));
    return item;
  }));
  const given = new URLSearchParams(location.search).get("rater") ?? "";
  if (/^\d{1,4}$/.test(given)) element("person").elements.number.value = given;
  element("scales").noValidate = true;
  for (const [id, act] of [["person", begin], ["scales", forward]])
    element(id).addEventListener("submit", (event) => {
      event.preventDefault();
      act(event.target);
    });
  element("back").addEventListener("click", () => go(-1));
  element("another").addEventListener("click", nextPerson);
  for (const button of document.querySelectorAll(".save"))
    button.addEventListener("click", download);
  document.addEventListener("keydown", press);
  // Another tab of this browser: both show the same answers.
  window.addEventListener("storage", (event) => event.key === KEY && restore());
}

prepare();
restore();
