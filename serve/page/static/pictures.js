// Pictures that are pasted or dropped, as canvases of a size that the server takes.
const LARGEST_SIDE = 560; // pixels

// Call `onPicture(canvas)` for each picture pasted or dropped anywhere on the page, and `onFailure()`
// for what this browser cannot read as one.
export function receivePictures({ onPicture, onFailure }) {
  const receive = async (event, { files = [] }) => {
    if (files.length === 0) return;
    event.preventDefault();
    const canvas = await decode(files[0]).catch(() => null);
    canvas === null ? onFailure() : onPicture(canvas);
  };
  document.addEventListener("paste", (event) => receive(event, event.clipboardData ?? {}));
  document.addEventListener("drop", (event) => receive(event, event.dataTransfer ?? {}));
  // A browser would open what is dropped, were this not said.
  document.addEventListener("dragover", (event) => event.preventDefault());
}

async function decode(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LARGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}
