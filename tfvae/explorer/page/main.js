// The start of the page.

import { loadModel, readDescription, scriptInterface } from "./loading.js";

/** A sentence at the top of the page. */
function notify(sentence) {
  const notice = document.getElementById("notice");
  notice.textContent = sentence;
  notice.hidden = false;
}

async function start() {
  const description = readDescription();
  const loaded = await loadModel(description);
  Object.assign(window.tfvae, scriptInterface(loaded.model));
}

window.tfvae = {};
window.tfvae.ready = start();
window.tfvae.ready.catch((error) => notify(error.message));
