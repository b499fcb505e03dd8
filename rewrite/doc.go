// Package rewrite answers the question under which name a message leaves, and
// to whom. Rules of the configuration say so, in their order; then it completes
// what a client submitted until it is a message of RFC 5322 that other systems
// accept and that [postern/policy] can judge.
//
// Sender and Recipient are asked at MAIL and RCPT, before policy and route, so
// that the answer is about what will happen. Complete is asked once the message
// is there:
//
//  1. refuse what goes in circles, or has a field twice that may stand once;
//  2. take out Bcc, what only the last system may write, and what the
//     configuration names;
//  3. repair what the client's profile has repaired, and add From where missing;
//  4. lead every address in From, Sender, Reply-To, To and Cc through the rules
//     that match addresses;
//  5. put the author in its place that the first from rule asks for;
//  6. set the fields that the configuration names;
//  7. refuse a From or Sender that cannot be read for certain;
//  8. add Date and Message-ID where missing, and Received on top.
//
// A Dressing makes of an accepted message what one upstream is given, once it is
// known what that offers: under a name it takes, in ASCII and 7 bits where it
// carries nothing else. The header is worked on in memory (ascii.go, words.go).
// The body is read once by a planner, which notes what is to be written
// differently (encode_plan.go); from then on it is made while it is read.
//
// A Rule is what is configured and a rule what it is made into; a chain is all
// of them, a guise the name a from rule gives. Check and what it uses (lint.go,
// order.go, examples.go, language.go) try rules when they are loaded.
//
// It works on values: it neither logs nor keeps anything. Whether the account
// may use a name is left to policy, storing the changes to the queue.
package rewrite
