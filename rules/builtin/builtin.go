// Package builtin holds what rules import or run without a process of their own: path_id, usb_id, input_id and their
// fellows, one file each.
package builtin

import (
	"context"
	"log/slog"

	"github.com/kudev/kudev/hotplug"
)

// Call is one use of a builtin by a rule.
type Call struct {
	Event  *hotplug.Event
	Device *hotplug.Device
	Args   []string // what stands behind the builtin's name
	Log    *slog.Logger

	// Get returns a property of the event as the rules have it now; Set adds one.
	Get func(key string) (string, bool)
	Set func(key, value string)
}

// Func is a builtin. An error means that the import fails: the rule's line does not match.
type Func func(ctx context.Context, call *Call) error
