// What a model's answer is worth: by the card's calibration, which was measured on held-out photos.

import { percent } from "./dom.js";

const WEAK = 0.6; // right less often: the answer is shown as a guess
const EVEN = 0.05; // two labels this close to each other

const share = (part, all) => `${Math.round((100 * part) / all)}%`;

// {text, weak}: a sentence, and whether the answer deserves less than a headline.
export function confidence(result, card) {
  const { probabilities, order } = result;
  const [best, second] = order;
  if (card.activation === "sigmoid")
    return { text: "Each label has its own yes or no: the shares do not add up to 100%.", weak: probabilities[best] < 0.5 };
  const even = order.length > 1 && probabilities[best] - probabilities[second] < EVEN;
  const doubt = even ? `About even: ${card.labels[best]} or ${card.labels[second]}. ` : "";
  const record = card.calibration;
  if (!record?.bins?.length)
    return {
      text: `${doubt}How often such an answer is right is not known: ${overall(card)}`,
      weak: even || probabilities[best] < 0.5,
    };
  const logits = result.logits ?? probabilities.map((p) => Math.log(Math.max(p, 1e-7)));
  if (record.energy && result.logits && logSumExp(logits) < record.energy[0])
    return { text: `${doubt}Unlike the test photos: the model may not know such things.`, weak: true };
  const sure = Math.max(...softmax(logits.map((logit) => logit / record.temperature)));
  const bin = record.bins.find(({ low, high }) => low <= sure && sure < high) ?? record.bins.at(-1);
  if (!bin.pictures) return { text: `${doubt}No test photo got such an answer.`, weak: true };
  const label = card.labels[best], own = record.classes?.[label];
  const same = own?.predicted ? ` Of its answers “${label}”, ${own.right} of ${own.predicted} were right.` : "";
  return {
    text: `${doubt}Right in ${share(bin.right, bin.pictures)} of such cases in testing (${bin.right} of ${bin.pictures}).${same}`,
    weak: even || bin.right / bin.pictures < WEAK,
  };
}

const overall = ({ provenance: past = {} }) => (past.test_accuracy
  ? `in testing ${percent(past.test_accuracy)} of all answers were, but not all are as sure.` : "the model's card has no test results.");

// What was measured, for the model's facts; null if nothing was.
export function testRecord({ calibration: record, provenance: past = {} }) {
  const [low, high] = past.test_interval_95 ?? [];
  const interval = high ? ` (95% interval: ${percent(low)} to ${percent(high)})` : "";
  return [
    past.test_accuracy && `${percent(past.test_accuracy)} right${interval}`,
    record?.pictures && `calibrated on ${record.pictures} photos (${record.data})`,
  ].filter(Boolean).join("; ") || null;
}

function softmax(logits) {
  const sum = logSumExp(logits);
  return logits.map((logit) => Math.exp(logit - sum));
}

function logSumExp(values) {
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
}
