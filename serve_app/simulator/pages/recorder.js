/** Records with the microphone; the simulator makes a voice note of it, as WhatsApp does. */

const TYPES = ["audio/ogg;codecs=opus", "audio/webm;codecs=opus", "audio/mp4"];

export const LONGEST_MS = 120_000;

export class Recorder {
  constructor(onTick) {
    this.onTick = onTick;
    this.recorder = null;
  }

  get live() {
    return this.recorder !== null;
  }

  async start() {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      throw new Error("this browser can't record here: open the page at 127.0.0.1 or localhost");
    }
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    this.parts = [];
    this.recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
    this.recorder.ondataavailable = (event) => this.parts.push(event.data);
    this.recorder.start();
    this.began = Date.now();
    this.timer = setInterval(() => this.onTick(Date.now() - this.began), 200);
  }

  /** The recording; null if it is to be discarded. */
  async stop({ keep }) {
    const recorder = this.recorder;
    if (!recorder) return null;
    clearInterval(this.timer);
    const ended = new Promise((resolve) => { recorder.onstop = resolve; });
    recorder.stop();
    await ended;
    recorder.stream.getTracks().forEach((track) => track.stop());
    this.recorder = null;
    return keep ? new Blob(this.parts, { type: recorder.mimeType }) : null;
  }
}
