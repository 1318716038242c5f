"use strict";

// What is shown and what is handed over: a plan drawn from one seed, and the rows of a sheet.
// No name of a method is in this page.

const study = JSON.parse(document.getElementById("study").textContent);
const COLUMNS = ["study", "rater", "session", "experience", "screen", "case", "aspect", "result",
  "place", "rating", "seconds", "shown", "time"];

// --- Chance: the same seed always gives the same plan ---

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

function shuffled(items, random) {
  const list = [...items];
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

function latinSquare(size) {
  // Williams' design: each item stands equally often at each place and behind each other item;
  // an odd size needs the mirrored rows too.
  const first = [0];
  for (let i = 1; i < size; i++) first.push(i % 2 ? (i + 1) / 2 : size - i / 2);
  const rows = first.map((_, shift) => first.map((item) => (item + shift) % size));
  return size % 2 ? rows.concat(rows.map((row) => [...row].reverse())) : rows;
}

function plan(seed, number) {
  // Screens in order. A given number fixes the row of the square, so that raters 1, 2, 3, ...
  // fill it evenly; else the row is drawn.
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
  // Spread evenly, each somewhere in the middle of its part, over a screen that comes anyway.
  const places = [...Array(study.checks).keys()].map((k) =>
    Math.floor(((k + 0.25 + 0.5 * random()) / study.checks) * screens.length));
  const asked = places.map(() => [1, 2, 4, 5][Math.floor(random() * 4)]);
  const aspect = (value) => ({ key: "check", title: "Attention check", words:
    `whatever the pictures show, choose ${value} here` });
  for (let k = study.checks - 1; k >= 0; k--) {
    const check = { ...screens[places[k]], check: asked[k], aspects: [aspect(asked[k])] };
    screens.splice(places[k], 0, check);
  }
  return screens;
}

function randomWord(length) {
  const signs = "abcdefghjkmnpqrstuvwxyz23456789";
  return [...crypto.getRandomValues(new Uint8Array(length))].map((b) => signs[b % 31]).join("");
}

function seedOf(text) {
  // FNV-1a over the study and the rater's number or session.
  let hash = 0x811c9dc5;
  for (const sign of `${study.id}/${text}`) hash = Math.imul(hash ^ sign.codePointAt(0), 16777619);
  return hash >>> 0;
}

// --- What is handed over ---

function rows(state, screens) {
  // One a rating, in the order of the screens.
  const person = { study: study.id, rater: state.rater, session: state.session,
    experience: state.experience };
  return screens.flatMap((screen, at) => screen.aspects.flatMap((aspect) => {
    const answer = state.answers[`${at}/${aspect.key}`];
    const shown = study.cases[screen.case];
    const result = screen.check ? `choose ${screen.check}` : shown.results[screen.result].code;
    return answer ? [{ ...person, screen: at + 1, case: shown.name, aspect: aspect.key, result,
      place: screen.place + 1, ...answer }] : [];
  }));
}

function csv(rows) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  const lines = rows.map((row) => COLUMNS.map((name) => cell(row[name])).join(","));
  return `${[COLUMNS.join(","), ...lines].join("\n")}\n`;
}

function json(rows) {
  return `${JSON.stringify({ study: study.id, rows }, COLUMNS.concat("rows"), 1)}\n`;
}
