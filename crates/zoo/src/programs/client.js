// URL BYTES STREAMS FILE: fetches URL/bytes/BYTES several times at once, then puts the file to URL/upload; prints the
// SHA-256 of each answer's body, and the last answer.
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const [url, bytes, streams, file] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });

function get(path) {
  return new Promise((done, failed) => {
    const request = http.get(url + path, { agent }, (response) => {
      const digest = crypto.createHash("sha256");
      response.on("data", (piece) => digest.update(piece));
      response.on("end", () => done(digest.digest("hex")));
      response.on("error", failed);
    });
    request.on("error", failed);
  });
}

function put(path) {
  return new Promise((done, failed) => {
    const headers = { "Content-Length": fs.statSync(file).size };
    const request = http.request(url + path, { agent, method: "PUT", headers }, (response) => {
      let text = "";
      response.on("data", (piece) => (text += piece));
      response.on("end", () => done(text.trim()));
      response.on("error", failed);
    });
    request.on("error", failed);
    fs.createReadStream(file).pipe(request);
  });
}

async function main() {
  const downloads = Array.from({ length: Number(streams) }, () => get("/bytes/" + bytes));
  for (const digest of await Promise.all(downloads)) console.log(digest);
  console.log(await put("/upload"));
  agent.destroy();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
