// PORT FILE: GET gives the file, PUT takes anything and answers with its SHA-256.
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const [port, file] = process.argv.slice(2);

const server = http.createServer((request, response) => {
  if (request.method === "GET") {
    response.setHeader("Content-Length", fs.statSync(file).size);
    fs.createReadStream(file).pipe(response);
    return;
  }
  const digest = crypto.createHash("sha256");
  request.on("data", (piece) => digest.update(piece));
  request.on("end", () => response.end(digest.digest("hex") + "\n"));
});
server.listen(Number(port), "0.0.0.0");
