package main

import (
	"time"

	"postern/relay/message"
	"postern/relay/queue"
)

// entryView is a message as --json shows it. Its names are a promise to
// scripts; those of the store are not.
type entryView struct {
	ID         string         `json:"id"`
	Received   time.Time      `json:"received"`
	About      string         `json:"about,omitempty"` // the id a report is about, or "digest"
	Finished   time.Time      `json:"finished,omitzero"`
	Account    string         `json:"account"`
	Client     string         `json:"client"`
	Listener   string         `json:"listener"`
	From       string         `json:"from"`
	Size       int64          `json:"size"`
	Damaged    string         `json:"damaged,omitempty"`
	Deliveries []deliveryView `json:"deliveries"`
	History    []eventView    `json:"history,omitempty"`
	Header     []string       `json:"header,omitempty"`
}

type deliveryView struct {
	Recipient string        `json:"recipient"`
	State     queue.State   `json:"state"`
	Lane      string        `json:"lane"`
	Upstream  string        `json:"upstream,omitempty"`
	Attempts  int           `json:"attempts"`
	NextAt    time.Time     `json:"next_at,omitzero"`
	Reply     message.Reply `json:"reply,omitzero"`
	RemoteID  string        `json:"remote_id,omitempty"`
}

type eventView struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	queue.Event
}

func view(e *queue.Entry) entryView {
	v := entryView{ID: e.ID, Received: e.Received.UTC(), About: e.About, Finished: e.Finished.UTC(), Account: e.Client.Account,
		Client: e.Client.Address.Addr().String(), Listener: e.Client.Listener, From: e.From.String(), Size: e.Size, Damaged: e.Damaged}
	for _, d := range e.Deliveries {
		v.Deliveries = append(v.Deliveries, deliveryView{d.Recipient.Address.String(), d.State, d.Lane, d.Upstream, d.Attempts, d.NextAt, d.Reply, d.RemoteID})
	}
	for _, event := range e.History {
		v.History = append(v.History, eventView{event.At.UTC(), event.What, event})
	}
	for _, f := range e.Header {
		v.Header = append(v.Header, f.Name()+": "+f.Value())
	}
	return v
}
