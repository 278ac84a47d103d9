// An origin: Node's own server, on the port that its argument names. `app.py` is the same for Starlette.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const MIB = 1024 * 1024;
const EVENTS = 5;
const released = new Set();
const waiting = new Map();

function release(name) {
  released.add(name);
  waiting.get(name)?.();
}

function isReleased(name) {
  return released.has(name) ? Promise.resolve() : new Promise((resolve) => waiting.set(name, resolve));
}

const paths = {
  async "/digest"(request, response) {
    const hash = createHash("sha256");
    let length = 0;
    for await (const piece of request) {
      hash.update(piece);
      length += piece.length;
    }
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ method: request.method, length, sha256: hash.digest("hex") }));
  },
  async "/download"(request, response, query) {
    for (let number = 0; number < Number(query); number++) {
      if (!response.write(Buffer.alloc(MIB, number))) await new Promise((resolve) => response.once("drain", resolve));
    }
    response.end();
  },
  async "/events"(request, response, query) {
    response.setHeader("content-type", "text/event-stream");
    for (let number = 0; number < EVENTS; number++) {
      response.write(`data: ${number}\n\n`);
      await isReleased(`${query}-${number}`);
    }
    response.end();
  },
  async "/release"(request, response, query) {
    release(query);
    response.end("released");
  },
};

const server = createServer((request, response) => {
  const [path, query] = request.url.split("?");
  paths[path](request, response, query);
});
server.on("upgrade", (request, socket, head) => {
  socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
  socket.write(head);
  socket.pipe(socket);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
