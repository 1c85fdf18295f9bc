import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET); // whsec_…

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    webhook.verify(Buffer.concat(chunks).toString("utf8"), request.headers);
  } catch {
    response.writeHead(401).end("not a webhook for us");
    return;
  }
  // The same webhook-id may come again: remember it, and do the work once.
  console.log("received", request.headers["webhook-id"]);
  response.writeHead(204).end();
}).listen(Number(process.env.PORT), "127.0.0.1");
