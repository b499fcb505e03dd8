// Package policy answers the question whether they may: whether an account may
// use this envelope sender, this recipient, and the names in the From and
// Sender fields of a completed message. It knows patterns and numbers of the
// configuration and keeps nothing between two questions.
//
// Who the account is was settled by auth; that the header can be read for
// certain was seen to by rewrite, and is checked again here, because this is
// the room that must not be wrong. An account the configuration does not name
// may do nothing.
//
// Every refusal says what was refused, for whom, and what is allowed instead.
package policy
