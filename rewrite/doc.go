// Package rewrite answers the question under which name a message leaves. It
// completes what a client submitted until it is a message of RFC 5322 that
// other systems accept and that [postern/policy] can judge:
//
//  1. refuse what goes in circles, or has a field twice that may stand once;
//  2. take out Bcc, what only the last system may write, and what the
//     configuration names;
//  3. add From, Date and Message-ID where missing;
//  4. refuse a From or Sender that cannot be read for certain;
//  5. put Received on top.
//
// It works on the header alone and on values: it neither logs nor keeps
// anything. Whether the account may use the name is left to policy, storing the
// changes to the queue.
package rewrite
