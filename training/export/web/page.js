"use strict";
// The page itself: files and camera in, outlines and figures out.

const $ = (id) => document.getElementById(id);
const state = { nets: [], images: [], threshold: null };
window.lmnet = state; // for the console, and for tests

function say(text, isWrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", isWrong);
}

/** Pixels of a file as they are: no colour management, upright. */
async function readImage(file) {
  const bitmap = await createImageBitmap(file, {
    colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image",
  });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

async function addFiles(files) {
  for (const file of files) {
    try {
      addImage(file.name, await readImage(file));
    } catch (error) {
      say(`${file.name}: the browser cannot read it as an image. Use PNG, JPEG or WebP.`, true);
    }
  }
  await segmentAll();
}

function addImage(name, pixels) {
  const card = document.createElement("article");
  const title = document.createElement("h2");
  title.textContent = `${name} (${pixels.width} x ${pixels.height})`;
  const nets = document.createElement("div");
  nets.className = "nets";
  card.append(title, nets);
  $("images").prepend(card);
  state.images.push({ name, pixels, card: nets, results: new Map() });
}

/** Run every chosen net on every image that it has not seen, and draw. */
async function segmentAll() {
  let failed = false;
  for (const image of state.images) {
    for (const net of state.nets.filter((each) => each.box.checked)) {
      if (image.results.has(net)) continue;
      say(`${net.name}: ${image.name} ...`);
      await new Promise(requestAnimationFrame);
      try {
        net.opened ??= await openNet(net);
        image.results.set(net, await probabilities(image.pixels, net.opened));
      } catch (error) {
        failed = true;
        say(`${net.name}: it could not run (${error.message ?? error}).`, true);
      }
    }
    draw(image);
  }
  if (!failed) say(state.images.length ? "Ready." : "Ready: add an image.");
}

function drawAll() {
  state.images.forEach(draw);
}

function draw(image) {
  image.card.replaceChildren();
  for (const net of state.nets.filter((each) => each.box.checked)) {
    const result = image.results.get(net);
    if (!result) continue;
    result.mask = maskOf(result.shares, state.threshold);
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const areas = net.classes.slice(1).map((each, index) => {
      const pixels = result.mask.reduce((sum, value) => sum + (value === index + 1), 0);
      return `${each.name} ${((100 * pixels) / result.mask.length).toFixed(1)} % (${pixels} pixels)`;
    });
    const name = document.createElement("b");
    name.textContent = net.name;
    caption.append(name, ` ${areas.join(", ")}; ${result.ms.toFixed(0)} ms`);
    figure.append(painted(image.pixels, result.mask, net.classes), caption);
    image.card.append(figure);
  }
}

/** The image with each class tinted and outlined in its colour. */
function painted(pixels, mask, classes) {
  const { width, height } = pixels;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const out = new ImageData(new Uint8ClampedArray(pixels.data), width, height);
  const wide = Math.max(1, Math.round(Math.max(width, height) / 256));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = mask[y * width + x];
      if (here === 0) continue;
      const { color } = classes[here];
      const isEdge = [[wide, 0], [-wide, 0], [0, wide], [0, -wide]].some(([dx, dy]) => {
        const [u, v] = [x + dx, y + dy];
        return u < 0 || v < 0 || u >= width || v >= height || mask[v * width + u] !== here;
      });
      const share = isEdge ? 1 : 0.3;
      for (let c = 0; c < 3; c++) {
        const at = 4 * (y * width + x) + c;
        out.data[at] = (1 - share) * out.data[at] + share * color[c];
      }
    }
  }
  canvas.getContext("2d").putImageData(out, 0, 0);
  return canvas;
}

async function useCamera() {
  const video = $("video");
  if (video.srcObject) {
    video.srcObject.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  } else {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      await video.play();
    } catch (error) {
      say(`The camera cannot be used (${error.message ?? error}). Browsers give it to https:// and localhost only.`, true);
    }
  }
  const isOn = Boolean(video.srcObject);
  video.hidden = $("shoot").hidden = !isOn;
  $("camera").textContent = isOn ? "Stop the camera" : "Use the camera";
}

async function shoot() {
  const bitmap = await createImageBitmap($("video"));
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  addImage(`camera ${state.images.length + 1}`, context.getImageData(0, 0, bitmap.width, bitmap.height));
  await segmentAll();
}

function setThreshold(value) {
  state.threshold = value;
  $("shown").textContent = value === null ? "most probable class" : value.toFixed(2);
  drawAll();
}

function showNet(net, index) {
  const label = document.createElement("label");
  net.box = Object.assign(document.createElement("input"), { type: "checkbox", checked: index === 0 });
  net.box.addEventListener("change", segmentAll);
  const about = document.createElement("small");
  about.textContent = ` ${net.size} x ${net.size}, ${net.megabytes.toFixed(1)} MB${net.licence ? `; weights: ${net.licence}` : ""}`;
  label.append(net.box, ` ${net.name}`, about);
  $("nets").append(label);
}

async function start() {
  if (typeof ort === "undefined") throw new Error("onnxruntime-web did not load");
  ort.env.wasm.wasmPaths = new URL(document.body.dataset.runtime, location.href).href;
  ort.env.wasm.numThreads = 1;
  state.nets = await (await fetch("nets.json")).json();
  state.nets.forEach(showNet);
  await segmentAll();
}

$("files").addEventListener("change", (event) => addFiles(event.target.files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") addFiles(event.dataTransfer.files);
  });
}
$("camera").addEventListener("click", useCamera);
$("shoot").addEventListener("click", shoot);
$("clear").addEventListener("click", () => { state.images = []; $("images").replaceChildren(); segmentAll(); });
$("threshold").addEventListener("input", (event) => setThreshold(Number(event.target.value)));
$("usual").addEventListener("click", () => setThreshold(null));
start().catch((error) => {
  const advice = location.protocol === "file:" ? " Browsers run it from a web server only: python -m http.server." : "";
  say(`The page cannot start (${error.message ?? error}).${advice}`, true);
});
