// Draws surfaces that can be turned: one scene each, with one camera, one colour scale and one set of heights.
const surfaces = JSON.parse(document.getElementById("numbers").textContent);
const plot = document.getElementById("plot");
const scene = (k) => (k ? "scene" + (k + 1) : "scene");
let logarithmic = surfaces.logarithmic;

function height(value) {
  if (value === null) return null;
  if (!logarithmic) return value;
  return Math.log10(Math.max(value, surfaces.smallest));
}

function ticks() {
  if (!logarithmic) return {};
  return { tickvals: surfaces.ticks.map((t) => Math.log10(t)), ticktext: surfaces.ticks.map(String) };
}

function traces() {
  const range = [height(surfaces.low), height(surfaces.high)];
  const drawn = [];
  surfaces.panels.forEach((panel, k) => {
    drawn.push({
      type: "surface", scene: scene(k), name: panel.title, x: panel.x, y: panel.y,
      z: panel.loss.map((row) => row.map(height)), customdata: panel.shown,
      colorscale: surfaces.colours, cmin: range[0], cmax: range[1], showscale: k === 0,
      colorbar: { title: { text: surfaces.quantity, side: "right" }, ...ticks() },
      hovertemplate: "%{customdata}<extra>" + panel.title + "</extra>",
    });
    for (const path of panel.paths) {
      drawn.push({
        type: "scatter3d", scene: scene(k), name: path.name, mode: path.mode, x: path.x, y: path.y,
        z: path.loss.map(height), text: path.labels, showlegend: false,
        line: { color: "black", width: 4 }, marker: { color: "black", size: 3 },
        hovertemplate: "%{text}<br>" + surfaces.labels[0] + " %{x:.4g}<br>" + surfaces.labels[1] + " %{y:.4g}<extra></extra>",
      });
    }
  });
  return drawn;
}

function titled(text) {
  return { title: { text: text, font: { size: 11 } }, tickfont: { size: 10 } };
}

function layout(camera) {
  const count = surfaces.panels.length;
  const settings = { margin: { l: 0, r: 0, t: 40, b: 0 }, annotations: [], font: { size: 13 } };
  surfaces.panels.forEach((panel, k) => {
    const domain = [k / count, (k + 1) / count];
    settings[scene(k)] = {
      domain: { x: domain, y: [0, 1] }, camera: camera, aspectmode: "manual", aspectratio: { x: 1, y: 1, z: 0.7 },
      xaxis: titled(surfaces.labels[0]), yaxis: titled(surfaces.labels[1]),
      zaxis: { ...titled(count > 1 ? "" : surfaces.quantity), range: [height(surfaces.low), height(surfaces.high)], ...ticks() },
    };
    settings.annotations.push({
      text: panel.title, showarrow: false, xref: "paper", yref: "paper", x: (domain[0] + domain[1]) / 2, y: 1.02,
    });
  });
  return settings;
}

const first = { eye: { x: 1.6, y: -1.7, z: 1.1 } };
const drawn = Plotly.newPlot(plot, traces(), layout(first), { responsive: true, displaylogo: false });

// Turning one scene turns all of them.
let turning = false;
drawn.then(() => {
  plot.on("plotly_relayout", (change) => {
    const key = Object.keys(change).find((name) => name.endsWith(".camera"));
    if (!key || turning) return;
    turning = true;
    const all = {};
    surfaces.panels.forEach((panel, k) => { all[scene(k) + ".camera"] = change[key]; });
    Plotly.relayout(plot, all).then(() => { turning = false; });
  });
});

const button = document.getElementById("scale");
button.hidden = !surfaces.positive;
function name() { button.textContent = logarithmic ? "linear heights" : "logarithmic heights"; }
name();
button.addEventListener("click", () => {
  logarithmic = !logarithmic;
  name();
  const camera = plot.layout.scene.camera || first;
  Plotly.react(plot, traces(), layout(camera), { responsive: true, displaylogo: false });
});
