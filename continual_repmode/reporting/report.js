"use strict";
// Moves through the planes of the samples; without scripts the middle ones are shown.
for (const samples of document.querySelectorAll(".samples")) {
  const all = samples.querySelector(".all input");
  const moves = [...samples.querySelectorAll(".sample")].map((sample) => {
    const slider = sample.querySelector("input");
    const planes = sample.dataset.planes.split(",").map(Number);
    const show = (index) => {
      const text = `${planes[index] + 1} of ${sample.dataset.depth}`;
      slider.value = index;
      slider.setAttribute("aria-valuetext", `plane ${text}`);
      sample.querySelector("output").textContent = text;
      sample.style.setProperty("--plane", index);
    };
    slider.addEventListener("input", () => show(Number(slider.value)));
    show(Number(slider.value)); // a browser may remember where it stood
    return (part) => show(Math.min(planes.length - 1, Math.floor(part * planes.length)));
  });
  all.addEventListener("input", () => moves.forEach((move) => move(all.value / 1000)));
  for (const control of samples.querySelectorAll(".control")) control.hidden = false;
}
