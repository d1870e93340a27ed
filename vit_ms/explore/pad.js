// Runs once for the drawing pad; `element`, `props` and `trigger` are Gradio's.
const canvas = element.querySelector("canvas");
const pen = canvas.getContext("2d");

function clear() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
}

// From the page's pixels to the canvas's, which CSS may show smaller.
function place(event) {
  const shown = canvas.getBoundingClientRect();
  return [
    ((event.clientX - shown.left) * canvas.width) / shown.width,
    ((event.clientY - shown.top) * canvas.height) / shown.height,
  ];
}

clear();
pen.lineWidth = 22;
pen.lineCap = pen.lineJoin = "round";
let drawing = false;

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  drawing = true;
  const [x, y] = place(event);
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(x + 0.1, y); // a touch alone is a dot, and a line of no length is not drawn
  pen.stroke();
});
canvas.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  pen.lineTo(...place(event));
  pen.stroke();
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, () => {
    if (drawing) trigger("input", { png: canvas.toDataURL("image/png") });
    drawing = false;
  });
}
document.addEventListener("vit_ms:clear", clear);

// A file that is dropped anywhere on the page goes the way of the button. The browser would else open it in the page's place.
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const input = document.querySelector("input[type=file]"); // the page has one
  if (!event.dataTransfer.files.length || !input) return;
  const one = new DataTransfer();
  one.items.add(event.dataTransfer.files[0]);
  input.files = one.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

// A file that is too large is not sent at all: the page only hears of it, to say so.
function weigh(event) {
  const file = event.target.type === "file" && event.target.files[0];
  if (!file || file.size <= props.most_bytes) return;
  event.stopImmediatePropagation();
  event.target.value = "";
  trigger("input", { name: file.name, bytes: file.size });
}
document.addEventListener("change", weigh, true); // before Gradio's own listener
