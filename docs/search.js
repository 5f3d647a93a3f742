// A message is searched for as it is pasted. What is a sign of the search's own language is none here: - and +
// before a word (--out would be no query at all), a colon behind one, and ~, ^, *.
const send = Worker.prototype.postMessage
Worker.prototype.postMessage = function (message, ...rest) {
  const asks = message && message.type === 2 && typeof message.data === "string"
  if (!asks) return send.call(this, message, ...rest)
  const data = message.data.replace(/(^|[\s("'`])[-+]+/g, "$1").replace(/[~^*]|:(?=\s|$)/g, " ")
  return send.call(this, { ...message, data }, ...rest)
}
