// The page of the playground: the microphone to the assistant, its voice to the loudspeaker, and
// what happens in between, as it happens.

const $ = (id) => document.getElementById(id);
const SECONDS = innerWidth < 720 ? 8 : 14; // that the picture shows
const RECORD_SECONDS = 600;
const WAIT_FOR_PEER_MS = 1500; // then the audio goes over the WebSocket
const IMAGE_EVERY_MS = 1000; // as often as Gemini looks
const IMAGE_SIDE = 1024;
const HERE = 0.8; // where in it the present is; what is queued lies behind it

// --- state ---------------------------------------------------------------------------------------

let socket, peer, speaker, context, meter, microphone, picture, looking;
let answered_offer = null; // takes the answer to the offer
let lanes = []; // {time, you: [low, high, rms], bot: [...]}, 10 ms each
let marks = []; // {time, kind, label}
let spans = []; // {from, to, kind}
let blocks = [], recordedFrom = 0; // Int16Array, what is recorded
let queued = 0; // ms of the assistant's speech that wait
let longestGap = 0, cutAt = -1, running = false;
let atHome = false; // the local server: its tokens cost nothing
const turns = new Map();

const now = () => (context ? context.currentTime : 0);
const ms = (seconds) => `${Math.round(seconds * 1000)} ms`;

// --- the connection ------------------------------------------------------------------------------

$("start").addEventListener("click", () => (running ? stop("You have hung up.") : start()));

async function start() {
  notice("");
  $("start").disabled = true;
  try {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers give the microphone to http://localhost and http://127.0.0.1 only, not to this address.");
    }
    running = true;
    context = new AudioContext({ latencyHint: "interactive" });
    await context.audioWorklet.addModule("meter.js");
    microphone = await openMicrophone();
    await openSocket();
    await context.resume();
    meter = new AudioWorkletNode(context, "meter", { numberOfInputs: 2, numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    context.createMediaStreamSource(microphone).connect(meter, 0, 0);
    meter.port.onmessage = ({ data }) => (data.block ? record(data) : data.piece ? send(data.piece) : measure(data));
    if ($("way").value === "socket" || !(await openPeer())) openLine();
    meter.port.postMessage({ recording: true });
    $("m-out").textContent = ms((context.outputLatency || 0) + (context.baseLatency || 0));
    $("start").textContent = "Hang up";
    document.querySelectorAll("button, input").forEach((each) => (each.disabled = false));
    await listDevices();
  } catch (error) {
    stop(explain(error));
  }
  $("start").disabled = false;
}

function explain(error) {
  if (error.name === "NotAllowedError") return "The browser does not give out the microphone. Allow it beside the address, and start again.";
  if (error.name === "NotFoundError") return "There is no microphone.";
  if (error.name === "NotReadableError") return "Another program holds the microphone.";
  return error.message || String(error);
}

function stop(reason) {
  running = false;
  clearInterval(looking);
  $("preview").hidden = true;
  for (const each of [microphone, picture]) each?.getTracks().forEach((track) => track.stop());
  peer?.close();
  socket?.close();
  context?.close();
  peer = socket = speaker = context = meter = microphone = picture = null;
  document.querySelectorAll("main button, main input").forEach((each) => (each.disabled = true));
  $("start").textContent = "Start talking";
  chip("media", "–");
  chip("gemini", "–");
  notice(reason);
}

function openSocket() {
  return new Promise((resolve, reject) => {
    socket = new WebSocket(`ws://${location.host}/live`);
    socket.onopen = () => { send({ token: location.hash.slice(1) }); };
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return speaker?.port.postMessage(new Int16Array(data), [data]);
      const message = JSON.parse(data);
      if (message.event === "hello") resolve();
      hear(message);
    };
    socket.onclose = ({ code, reason }) => {
      const why = reason || (code === 1006 ? "The playground does not answer. Does it still run?" : `closed (${code})`);
      reject(new Error(why));
      if (running) stop(why);
    };
  });
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(ArrayBuffer.isView(message) ? message : JSON.stringify(message));
}

// By WebRTC; false when it does not come about in time.
async function openPeer() {
  const opened = peer = new RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle" });
  opened.addTransceiver(microphone.getAudioTracks()[0], { direction: "sendrecv" });
  opened.ontrack = ({ track, receiver }) => {
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0; // as short as it can be
    hearVoice(new MediaStream([track]));
  };
  const late = new Promise((resolve) => setTimeout(resolve, WAIT_FOR_PEER_MS, "late"));
  const way = await Promise.race([callPeer(opened), late]).catch(() => "failed");
  if (way === "connected") {
    opened.onconnectionstatechange = () => {
      if (opened.connectionState === "failed" && running) { closePeer(); openLine(); }
    };
    chip("media", "WebRTC", "good");
    return true;
  }
  closePeer();
  return false;
}

async function callPeer(opened) {
  await opened.setLocalDescription(await opened.createOffer());
  await gathered(opened);
  if (!opened.localDescription.sdp.includes("a=candidate")) return "failed"; // no network
  const answer = await new Promise((resolve) => {
    answered_offer = resolve;
    send({ do: "offer", sdp: opened.localDescription.sdp });
  });
  await opened.setRemoteDescription({ type: "answer", sdp: answer });
  return new Promise((resolve) => {
    const look = () => ["connected", "failed", "closed"].includes(opened.connectionState) && resolve(opened.connectionState);
    opened.addEventListener("connectionstatechange", look);
    look();
  });
}

function closePeer() {
  answered_offer = null;
  peer?.close();
  peer = null;
  $("voice").srcObject = null;
}

// Over the WebSocket: where UDP does not get through.
function openLine() {
  socket.binaryType = "arraybuffer";
  speaker = new AudioWorkletNode(context, "speaker", { numberOfInputs: 0, outputChannelCount: [1] });
  speaker.connect(context.destination);
  speaker.connect(meter, 0, 1);
  send({ do: "line", rate: context.sampleRate });
  meter.port.postMessage({ sending: true });
  chip("media", "WebSocket", "good");
}

function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && resolve());
  });
}

function hearVoice(stream) {
  const audio = $("voice");
  audio.srcObject = stream; // an element that plays it: else Chromium lets the track run dry
  audio.play().catch(() => notice("The browser does not play sound before you click somewhere."));
  document.addEventListener("click", () => audio.paused && running && audio.play().then(() => notice("")), { capture: true });
  context.createMediaStreamSource(stream).connect(meter, 0, 1);
}

// --- what is measured here -----------------------------------------------------------------------

// A voice, by its level: when it begins and when it has ended.
class Voice {
  constructor() { this.floor = 1e-3; this.loudSince = null; this.lastLoud = -9; this.began = null; this.ended = -9; this.on = false; }
  push(time, rms) {
    this.floor = Math.min(Math.max(rms, 1e-5), this.floor * 1.003);
    const loud = rms > Math.max(0.004, this.floor * 3.5);
    if (loud) {
      if (time - this.lastLoud > 0.03) this.loudSince = time - 0.01;
      this.lastLoud = time;
      if (!this.on && time - this.loudSince > 0.025) { this.on = true; this.began = this.loudSince; return "began"; }
    } else if (this.on && time - this.lastLoud > 0.3) {
      this.on = false;
      this.ended = this.lastLoud;
      return "ended";
    }
    return "";
  }
}
let you = new Voice(), bot = new Voice();
let bargedAt = null, answered = true;

function measure({ time, levels }) {
  const [yours, theirs] = levels;
  lanes.push({ time, you: yours, bot: theirs });
  if (lanes.length > 100 * (SECONDS + 2)) lanes.splice(0, 100);
  const before = bot.on;
  const mine = you.push(time, yours[2]);
  const its = bot.push(time, theirs[2]);
  if (mine === "began") bargedAt = before ? you.began : null;
  if (mine === "ended") answered = false;
  if (its === "began" && !answered && bot.began > you.ended && !you.on) {
    answered = true;
    show("m-answer", ms(bot.began - you.ended));
  }
  if (bargedAt !== null && time - bot.lastLoud > 0.25) { // between two words it was silent anyway
    if (bot.lastLoud > bargedAt) show("m-silent", ms(bot.lastLoud - bargedAt));
    bargedAt = null;
  } else if (time - bargedAt > 3) bargedAt = null;
}

function show(id, text) { $(id).textContent = text; }

// --- what the playground tells -------------------------------------------------------------------

const GOOD = new Set(["connected", "resumed"]), BAD = new Set(["disconnected", "stalled", "error", "refused"]);

function hear(message) {
  const { event } = message;
  if (!running) return;
  if (event === "stats") return showStats(message);
  if (event === "answer") return answered_offer?.(message.sdp);
  if (event === "level") { queued = message.queued_ms; return show("m-queued", `${(queued / 1000).toFixed(1)} s`); }
  if (event === "hello") return greet(message);
  const act = acts[event];
  act?.(message);
  if (!["text", "user_text", "media", "barge_in"].includes(event)) note(message);
}

const acts = {
  connected: () => chip("gemini", "ready", "good"),
  media: () => {},
  user_text: ({ text }) => say("you", text),
  text: ({ text, turn }) => say("bot", text, turn),
  playback_started: () => { spans.push({ from: now(), to: null, kind: "bot" }); },
  playback_finished: (message) => { close("bot"); settle(message); },
  speech_started: () => { spans.push({ from: now(), to: null, kind: "you" }); },
  speech_stopped: () => close("you"),
  playback_ducked: () => mark("duck"),
  playback_paused: () => mark("pause"),
  playback_resumed: () => now() - cutAt > 0.1 && mark("resume"), // after a cut there is nothing to go on with
  speech: ({ phase }) => phase === "sustained" && spans.some((each) => each.kind === "bot" && each.to === null) && mark("commit"),
  tool_call: ({ tool }) => mark("tool", tool),
  interrupted: (message) => {
    cutAt = now();
    mark("cut", `${(message.heard_ms / 1000).toFixed(1)} s heard`);
  },
  disconnected: ({ reason }) => {
    spans.push({ from: now(), to: null, kind: "gap" });
    chip("gemini", "reconnecting", "busy");
    outcome(reason ? `Lost: ${reason}` : "Gemini ends this connection; moving to another one.");
  },
  resumed: ({ gap_ms, attempts, same_session }) => {
    close("gap");
    chip("gemini", "ready", "good");
    longestGap = Math.max(longestGap, gap_ms);
    show("m-gap", `${Math.round(longestGap)} ms`);
    outcome(`Back after ${Math.round(gap_ms)} ms and ${attempts} attempt${attempts === 1 ? "" : "s"}${same_session ? "" : ", in a new session"}; counting what it has cost …`);
  },
  stalled: ({ waited_ms }) => outcome(`Gemini owes an answer since ${(waited_ms / 1000).toFixed(0)} s.`),
  barge_in: showBargeIn,
  fault: ({ name, done }) => outcome(done ? `${FAULTS[name]?.[0] ?? name} …` : "There is no connection to break."),
  verdict: ({ text, lossless }) => outcome(text, lossless ? "good" : "bad"),
  refused: ({ reason }) => notice(reason),
  error: ({ error }) => notice(error),
  closed: ({ cause }) => { chip("gemini", "closed", "bad"); if (cause) notice(cause); },
};

function close(kind) {
  for (const span of spans) if (span.kind === kind && span.to === null) span.to = now();
}
function mark(kind, label = "") { marks.push({ time: now(), kind, label }); }

const FAULTS = {
  drop: ["Drop the connection", "resets TCP, as a network that breaks"],
  error: ["Internal error", "closes with 1011"],
  go_away: ["Say goAway", "announces the end in 8 s, as the service does every ten minutes"],
  stall: ["Stall", "sends nothing for 3 s"],
  outage: ["Short outage", "drops, and refuses three attempts"],
};

function greet({ local, faults }) {
  atHome = local;
  chip("service", local ? "local server, repeats you" : "Gemini Live", "good");
  chip("gemini", "connecting", "busy");
  $("break").hidden = !local;
  $("faults").replaceChildren(...faults.map((name) => {
    const button = document.createElement("button");
    [button.textContent, button.title] = FAULTS[name] ?? [name, ""];
    button.onclick = () => send({ do: "fault", name });
    return button;
  }));
}

// --- the transcript ------------------------------------------------------------------------------

let line = null; // the newest item

function say(who, text, turn = 0) {
  const list = $("said"), follow = list.scrollTop + list.clientHeight > list.scrollHeight - 40;
  if (!line || line.who !== who || line.done || line.turn !== turn) {
    const item = document.createElement("li");
    item.className = who === "bot" ? "bot running" : "you";
    const name = document.createElement("span");
    name.className = "who";
    name.textContent = who === "bot" ? "assistant" : "you";
    const words = document.createElement("span");
    words.className = "rest";
    item.append(name, words);
    list.append(item);
    line = { who, item, words, turn, done: false };
    if (who === "bot") turns.set(turn, line);
  }
  line.words.textContent += text;
  if (follow) list.scrollTop = list.scrollHeight;
}

function settle({ turn, text, heard_text, cut }) {
  const open = turns.get(turn);
  if (!open) return;
  turns.delete(turn);
  open.done = true;
  open.item.classList.remove("running");
  const heard = document.createElement("span"), rest = document.createElement("s");
  heard.textContent = cut ? heard_text : text;
  rest.textContent = cut ? text.slice(heard_text.length) : "";
  rest.className = "unheard";
  if (rest.textContent) rest.setAttribute("aria-label", `not heard: ${rest.textContent}`);
  open.words.replaceChildren(heard, rest);
  open.item.firstChild.textContent = cut ? "assistant, interrupted" : "assistant";
}

function note(message) {
  const { event, t, ...rest } = message;
  const list = $("log"), follow = list.scrollTop + list.clientHeight > list.scrollHeight - 40;
  const item = document.createElement("li"), time = document.createElement("time"), what = document.createElement("span");
  time.textContent = t.toFixed(2);
  const details = Object.entries(rest).filter(([key, value]) => value !== "" && value !== null && !(key === "turn" && !value))
    .map(([key, value]) => `${key} ${typeof value === "number" ? Math.round(value * 10) / 10 : value}`);
  what.textContent = [event.replaceAll("_", " "), ...details.slice(0, 4)].join(" · ").slice(0, 160);
  what.className = GOOD.has(event) ? "good" : BAD.has(event) ? "bad" : "";
  item.append(time, what);
  list.append(item);
  while (list.children.length > 400) list.firstChild.remove();
  if (follow) list.scrollTop = list.scrollHeight;
}

async function showStats({ state, counters }) {
  if (state === "ready" || state === "closed") chip("gemini", state, state === "ready" ? "good" : "bad");
  Object.assign(counters, await mediaStats());
  show("m-tokens", atHome || counters.cost_usd === undefined ? counters.tokens : `${counters.tokens} · $${counters.cost_usd.toFixed(3)}`);
  const rows = Object.entries(counters).map(([name, value]) => {
    const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td");
    head.textContent = name.replaceAll("_", " ");
    cell.textContent = typeof value === "number" ? Math.round(value * 10) / 10 : value;
    row.append(head, cell);
    return row;
  });
  $("stats").tBodies[0].replaceChildren(...rows);
}

async function mediaStats() {
  const found = {};
  for (const each of (await peer?.getStats())?.values() ?? []) {
    if (each.type === "inbound-rtp" && each.kind === "audio" && each.jitterBufferEmittedCount) {
      found.jitter_buffer_ms = 1000 * each.jitterBufferDelay / each.jitterBufferEmittedCount;
      found.packets_lost = each.packetsLost;
      found.concealed_ms = each.concealedSamples / 48;
    } else if (each.type === "candidate-pair" && each.nominated) {
      found.media_round_trip_ms = 1000 * (each.currentRoundTripTime ?? 0);
    }
  }
  return found;
}

// --- controls ------------------------------------------------------------------------------------

function toggle(id, work) {
  const button = $(id);
  button.addEventListener("click", async () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    try {
      if ((await work(on)) !== false) button.setAttribute("aria-pressed", on);
    } catch (error) { notice(explain(error)); }
  });
}
toggle("mute", (on) => microphone.getTracks().forEach((track) => (track.enabled = !on)));
toggle("hold", (on) => send({ do: on ? "hold" : "go_on" }));
toggle("camera", (on) => look(on && (() => navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1024 }, frameRate: { ideal: 10 } } })), "camera"));
toggle("screen", (on) => look(on && (() => navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 5 } })), "screen"));
$("drop").addEventListener("click", () => send({ do: "drop" }));
$("save").addEventListener("click", save);
$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  send({ do: "text", text });
  say("you", text);
  line.done = true;
  $("text").value = "";
});

// How the assistant gives way: the options of `BargeIn`.
const TIMES = {
  duck_db: ["Lowered at the first sign by", -40, 0, 1, "dB"],
  pause_after_ms: ["Paused after speech of *", 16, 480, 16, "ms"],
  resume_after_ms: ["Goes on after silence of", 200, 2000, 50, "ms"],
  commit_after_ms: ["Finished reply dropped after *", 100, 3000, 100, "ms"],
};

for (const [name, [text, min, max, step, unit]] of Object.entries(TIMES)) {
  const label = document.createElement("label"), slider = document.createElement("input"), value = document.createElement("output");
  Object.assign(slider, { id: name, type: "range", min, max, step, disabled: true });
  value.htmlFor = name;
  label.append(text, slider, value);
  $("times").append(label);
  const showTime = (at) => {
    value.textContent = at === null ? "silence" : `${at} ${unit}`.replace("-", "\u2212");
    slider.setAttribute("aria-valuetext", value.textContent);
  };
  slider.addEventListener("input", () => showTime(slider.value));
  slider.addEventListener("change", () => send({ do: "barge_in", on: $("barge").checked, [name]: Number(slider.value) }));
  showTime(slider.value);
  slider.show = (at) => { // null is minus infinity; an application may have set what is off the scale
    slider.min = Math.min(slider.min, at ?? min);
    slider.max = Math.max(slider.max, at ?? max);
    slider.value = at ?? slider.min;
    showTime(at);
  };
}
$("barge").addEventListener("change", () => send({ do: "barge_in", on: $("barge").checked }));

function showBargeIn(message) {
  globalThis.playground.bargeIn = message;
  $("barge").checked = message.on;
  for (const name in TIMES) if (document.activeElement !== $(name) || $(name).disabled) $(name).show(message[name]);
}

// Pictures go over the WebSocket, one a second: aiortc would decode every frame of a video.
async function look(open, name) {
  clearInterval(looking);
  picture?.getTracks().forEach((track) => track.stop());
  picture = open ? await open() : null;
  const preview = $("preview"), track = picture?.getVideoTracks()[0];
  preview.hidden = !track;
  preview.srcObject = picture;
  $(name === "camera" ? "screen" : "camera").setAttribute("aria-pressed", false);
  if (!track) return;
  track.onended = () => $(name).getAttribute("aria-pressed") === "true" && $(name).click(); // the browser's own "stop sharing"
  await preview.play();
  looking = setInterval(sendImage, IMAGE_EVERY_MS);
}

function sendImage() {
  const { videoWidth: width, videoHeight: height } = $("preview");
  if (!width || socket?.bufferedAmount > 1e6) return; // nothing yet, or a page that is behind
  const scale = Math.min(1, IMAGE_SIDE / Math.max(width, height)), sheet = document.createElement("canvas");
  sheet.width = Math.round(width * scale);
  sheet.height = Math.round(height * scale);
  sheet.getContext("2d").drawImage($("preview"), 0, 0, sheet.width, sheet.height);
  send({ do: "image", jpeg: sheet.toDataURL("image/jpeg", 0.8).split(",")[1] });
  globalThis.playground.images++;
}

const openMicrophone = () => navigator.mediaDevices.getUserMedia({
  audio: {
    echoCancellation: $("aec").checked, noiseSuppression: true, autoGainControl: true,
    ...($("mics").value && { deviceId: { exact: $("mics").value } }),
  },
});

async function changeMicrophone() {
  if (!running) return;
  try {
    const next = await openMicrophone();
    await peer?.getTransceivers()[0].sender.replaceTrack(next.getAudioTracks()[0]);
    microphone.getTracks().forEach((track) => track.stop());
    microphone = next;
    context.createMediaStreamSource(next).connect(meter, 0, 0);
    $("mute").setAttribute("aria-pressed", false);
  } catch (error) { notice(explain(error)); }
}
$("mics").addEventListener("change", changeMicrophone);
$("aec").addEventListener("change", changeMicrophone);
$("speakers").addEventListener("change", () => $("voice").setSinkId?.($("speakers").value));
navigator.mediaDevices?.addEventListener?.("devicechange", listDevices);

async function listDevices() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  for (const [id, kind] of [["mics", "audioinput"], ["speakers", "audiooutput"]]) {
    const chosen = $(id).value;
    const options = devices.filter((each) => each.kind === kind)
      .map((each, index) => new Option(each.label || `${id.slice(0, -1)} ${index + 1}`, each.deviceId));
    $(id).replaceChildren(...options);
    if (options.some((option) => option.value === chosen)) $(id).value = chosen;
    $(id).parentElement.hidden = id === "speakers" && (!options.length || !("setSinkId" in HTMLMediaElement.prototype));
  }
}

// --- the recording -------------------------------------------------------------------------------

function record({ block, time }) {
  if (!blocks.length) recordedFrom = time - block.length / 2 / context.sampleRate;
  blocks.push(block);
  if (blocks.length > RECORD_SECONDS * 10) blocks.shift();
}

function recording(seconds = RECORD_SECONDS) { // the newest of them
  const kept = blocks.slice(-Math.ceil(seconds * 10)), samples = new Int16Array(kept.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of kept) { samples.set(block, at); at += block.length; }
  return samples;
}

function save() {
  const samples = recording(), rate = context.sampleRate, head = new DataView(new ArrayBuffer(44));
  const put = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  put(0, "RIFF"); head.setUint32(4, 36 + samples.byteLength, true); put(8, "WAVEfmt ");
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 2, true);
  head.setUint32(24, rate, true); head.setUint32(28, rate * 4, true); head.setUint16(32, 4, true); head.setUint16(34, 16, true);
  put(36, "data"); head.setUint32(40, samples.byteLength, true);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([head, samples], { type: "audio/wav" }));
  link.download = "conversation.wav"; // left you, right the assistant
  link.click();
  URL.revokeObjectURL(link.href);
}

// --- the picture ---------------------------------------------------------------------------------

const canvas = $("waves"), pen = canvas.getContext("2d");
let colours = {};
const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  colours = Object.fromEntries(["card", "ink", "soft", "line", "you", "bot", "queued", "duck", "pause", "resume", "cut", "gap", "tool"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
readColours();

function draw() {
  requestAnimationFrame(draw);
  const width = canvas.clientWidth, height = canvas.clientHeight, scale = devicePixelRatio;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const end = now(), from = end - SECONDS * HERE, x = (time) => ((time - from) / SECONDS) * width;
  const half = (height - 34) / 2, centre = { you: 6 + half / 2, bot: 20 + half * 1.5 };
  pen.font = "11px system-ui, sans-serif";
  spans = spans.filter((span) => span.to === null || span.to > from);
  marks = marks.filter((each) => each.time > from);
  pen.fillStyle = colours.gap;
  for (const span of spans.filter((each) => each.kind === "gap")) pen.fillRect(x(span.from), 0, Math.max(3, x(span.to ?? end) - x(span.from)), height - 14);
  pen.strokeStyle = colours.line;
  pen.fillStyle = colours.soft;
  for (let second = Math.ceil(from); x(second) < width; second++) {
    line1(x(second), 0, x(second), height - 14);
    if (second >= 0 && second % 2 === 0) pen.fillText(`${second} s`, x(second) + 3, height - 3);
  }
  for (const who of ["you", "bot"]) {
    pen.strokeStyle = colours.line;
    line1(0, centre[who], width, centre[who]);
    pen.fillStyle = colours[who];
    for (const span of spans.filter((each) => each.kind === who)) {
      pen.fillRect(x(span.from), centre[who] + half / 2 - 2, Math.max(2, x(span.to ?? end) - x(span.from)), 3);
    }
    const step = Math.max(1, (width / SECONDS) * 0.01);
    for (const lane of lanes) {
      if (lane.time < from) continue;
      const [low, high] = lane[who], size = half / 2 - 4;
      const top = shape(high) * size, bottom = shape(-low) * size;
      pen.fillRect(x(lane.time), centre[who] - top, step, Math.max(1, top + bottom));
    }
    write(who === "you" ? "you" : "assistant", 4, centre[who] - half / 2 + 12);
  }
  pen.fillStyle = colours.queued;
  pen.fillRect(x(end), centre.bot - half / 8, (queued / 1000 / SECONDS) * width, half / 4);
  pen.strokeStyle = colours.ink;
  line1(x(end), 0, x(end), height - 14);
  const rows = [0, 0, 0]; // where the newest label of each ends
  const colour = ({ kind }) => colours[{ commit: "cut" }[kind] ?? kind] ?? colours.ink;
  for (const each of marks) {
    pen.strokeStyle = colour(each);
    line1(x(each.time), centre.bot - half / 2 - 6, x(each.time), centre.bot + half / 2);
  }
  for (const each of marks) {
    pen.fillStyle = colour(each);
    const name = { cut: "interrupted", resume: "goes on" }[each.kind] ?? each.kind, text = each.label ? `${name}, ${each.label}` : name;
    const row = rows.findIndex((end) => end < x(each.time));
    if (row < 0) continue; // the line and its colour have to do
    rows[row] = x(each.time) + 8 + pen.measureText(text).width;
    write(text, x(each.time) + 3, centre.bot - half / 2 + 4 + row * 11);
  }
}
function write(text, x, y) { // over waves and lines, on a rim of the background
  pen.strokeStyle = colours.card;
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeText(text, x, y);
  pen.lineWidth = 1;
  pen.fillText(text, x, y);
}
const shape = (x) => Math.min(1, Math.sqrt(Math.max(0, x))); // soft voices are to be seen
function line1(x0, y0, x1, y1) { pen.beginPath(); pen.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5); pen.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5); pen.stroke(); }
requestAnimationFrame(draw);

// --- small things --------------------------------------------------------------------------------

function chip(id, text, mood = "") { const each = $(id); each.querySelector("b").textContent = text; each.dataset.mood = mood; }
function notice(text) { $("notice").textContent = text; $("notice").hidden = !text; }
function outcome(text, mood = "") { $("outcome").textContent = text; $("outcome").className = mood; }

globalThis.playground = { // for tests
  images: 0, bargeIn: null,
  recording, rate: () => context.sampleRate, recordedFrom: () => recordedFrom,
  clock: () => performance.timeOrigin + performance.now() - 1000 * context.currentTime,
};
