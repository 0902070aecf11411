/** Records with the microphone; the simulator makes a voice note of it, as WhatsApp does. */

const TYPES = ["audio/ogg;codecs=opus", "audio/webm;codecs=opus", "audio/mp4"];

export const LONGEST_MS = 120_000;

export class Recorder {
  constructor(onTick) {
    this.onTick = onTick;
    this.recorder = null;
    this.starting = false;
  }

  get live() {
    return this.recorder !== null;
  }

  /** False if it records already, or is about to: a person may still be asked for the microphone. */
  async start() {
    if (this.live || this.starting) return false;
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      throw new Error("this browser can't record here: open the page at 127.0.0.1 or localhost");
    }
    this.starting = true;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      try {
        this.listenTo(stream);
      } catch (error) {
        stream.getTracks().forEach((track) => track.stop());
        throw error;
      }
    } finally {
      this.starting = false;
    }
    return true;
  }

  listenTo(stream) {
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
    const parts = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.start();
    this.recorder = recorder;
    this.parts = parts;
    const began = Date.now();
    this.timer = setInterval(() => this.onTick(Date.now() - began), 200);
  }

  /** The recording; null if it is to be discarded, and for all but the first that ask. */
  async stop({ keep }) {
    const { recorder, parts } = this;
    if (!recorder) return null;
    this.recorder = null;
    clearInterval(this.timer);
    const ended = new Promise((resolve) => { recorder.onstop = resolve; });
    recorder.stop();
    await ended;
    recorder.stream.getTracks().forEach((track) => track.stop());
    return keep ? new Blob(parts, { type: recorder.mimeType }) : null;
  }
}
