package hotplug

import "io/fs"

// Result is what the rules decided for one event. It changes nothing until it is applied.
type Result struct {
	Name       string     // a network interface's new name, "" to keep it
	Node       NodeResult // the node's owner, group, mode and labels
	Links      []string   // names below /dev, without /dev/ in front, each once
	Priority   int        // of the links: the highest gets a contested name, of equals the latest event's
	Properties []Property // all properties of the event after the rules, in the order in which they first appeared
	Tags       []string   // the tags of now; the record also keeps those that once were
	EverTags   []string   // all tags that the record keeps, when that is not its own and Tags: rules took some back. Nil otherwise
	Run        []Command  // RUN in its order: builtins, then programs
	Watch      bool       // a close after writing the node makes a change event
	Persist    bool       // the record outlives the initramfs (OPTIONS+="db_persist")
}

// Property is one KEY=value of a result. Stored is false for what neither the record nor the broadcast shows (a name
// that begins with a dot) and for what the kernel's event itself said (which the record leaves out, and the broadcast shows).
type Property struct {
	Key, Value string
	Stored     bool
}

// NodeResult holds what rules said of the node. Nil means that no rule did.
type NodeResult struct {
	UID, GID *uint32
	Mode     *fs.FileMode
	SecLabel map[string]string // module → label
}

// Command is one entry of RUN, expanded.
type Command struct {
	Builtin bool
	Line    string
	Rule    string // file:line of the rule that asked
}
