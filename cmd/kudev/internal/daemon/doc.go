// Package daemon wires the house together: listener, queue, rules, node and links, loads, broadcast; the control
// sockets, the signals, the recovery after an overflow, and the journal of decisions.
package daemon
