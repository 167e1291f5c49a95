package http

import "github.com/exspan/exspan/classify/observe"

// slot is a fact that most messages repeat.
type slot uint8

const (
	slotMethod slot = iota
	slotHost
	slotPath
	slotAgent
	slotServer
	slotStatus
	slotBuild
	slotRole
	slotPort
	slotForwarded
	slotAnswer
	slotRPCServer
	slotClientID
	slotSync
	slotOWABuild
	slotType
	slotAuth
	slotEncryption
	numSlots
)

var names = [numSlots]string{Method, Host, Path, UserAgent, Server, Status, ExchangeVersion, ExchangeRole, RPCPort, ForwardedFor,
	Answer, RPCServer, ClientID, ActiveSync, OWABuild, RequestType,
	observe.Auth, observe.Encryption}

// last returns the last value of a slot if it is still among the facts.
func (o *observer) last(r *observe.Report, which slot) string {
	if i := int(o.at[which]); i < r.Len() {
		if f := &r.All()[i]; f.Name == names[which] {
			return f.Value
		}
	}
	return ""
}

// addValue adds a fact unless it was the last one of its slot.
func (o *observer) addValue(r *observe.Report, which slot, value string) {
	if o.last(r, which) == value {
		return
	}
	n := r.Len()
	if r.Add(names[which], value); r.Len() > n {
		o.at[which] = uint8(n)
	}
}

// add adds the fact value + tail, unless it was added before or there are too many.
func (o *observer) add(r *observe.Report, which slot, value []byte, tail string) {
	if len(value) == 0 || o.counts[which] == maxValues {
		return
	}
	if o.counts[which] > 0 {
		if tail == "" && string(value) == o.last(r, which) {
			return
		}
		for i, f := range r.All() {
			if f.Name != names[which] || len(f.Value) != len(value)+len(tail) || f.Value[len(value):] != tail {
				continue
			}
			if v := f.Value[:len(value)]; string(value) == v || which == slotHost && equalFold(value, v) {
				o.at[which] = uint8(i)
				return
			}
		}
	}
	var room [64]byte
	if which == slotHost {
		value = appendLower(room[:0], value)
	} else if tail != "" {
		value = append(append(room[:0], value...), tail...)
	}
	n := r.Len()
	if r.AddBytes(names[which], value); r.Len() > n {
		o.at[which] = uint8(n)
		o.counts[which]++
	}
}

// appendLower appends b to a with its ASCII letters converted to lower case.
func appendLower(a, b []byte) []byte {
	for _, c := range b {
		a = append(a, lower(c))
	}
	return a
}
