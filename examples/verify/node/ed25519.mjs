import { createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";

const x = Buffer.from(process.env.WEBHOOK_PUBLIC_KEY.replace("whpk_", ""), "base64").toString("base64url");
const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
const tolerance = 5 * 60; // seconds

function verified(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures = "" } = headers;
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - timestamp) > tolerance) return false;
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  // During a rotation there are several signatures; one that fits is enough.
  return signatures
    .split(" ")
    .filter((signature) => signature.startsWith("v1a,"))
    .some((signature) => verify(null, signed, key, Buffer.from(signature.slice("v1a,".length), "base64")));
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  if (!verified(request.headers, Buffer.concat(chunks))) {
    response.writeHead(401).end("not a webhook for us");
    return;
  }
  // The same webhook-id may come again: remember it, and do the work once.
  console.log("received", request.headers["webhook-id"]);
  response.writeHead(204).end();
}).listen(Number(process.env.PORT), "127.0.0.1");
