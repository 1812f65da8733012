// Browsers start no Worker from file://. There a hidden frame runs the search, so that the site needs no server.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      const inside = frame.contentWindow
      const deliver = (target, data) => setTimeout(() => target.dispatchEvent(new MessageEvent("message", { data })))
      inside.postMessage = data => deliver(this, data)
      const loaded = new Promise(resolve => {
        const script = frame.contentDocument.createElement("script")
        script.onload = resolve
        script.src = new URL(url, location.href).href
        frame.contentDocument.body.appendChild(script)
      })
      this.postMessage = data => loaded.then(() => deliver(inside, data))
    }
  }
}
