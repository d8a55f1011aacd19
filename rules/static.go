package rules

import "io/fs"

// StaticNode is what a line with OPTIONS+="static_node=…" says of a node that is there before its driver. It is applied
// once, when the daemon starts, whatever the line's matches are.
type StaticNode struct {
	Node     string // below /dev
	UID, GID *uint32
	Mode     *fs.FileMode // nil: 0660 where GID is set, else as it is
	Tags     []string     // names below /run/udev/static_node-tags
	Rule     string       // file:line
}

// StaticNodes returns them in the rules' order.
func (p *Program) StaticNodes() []StaticNode { return p.static }

func (c *compiler) static(l *line) {
	if l.uses&useStatic == 0 {
		return
	}
	node := StaticNode{Rule: l.rule.String()}
	for i := range l.tokens {
		switch t := &l.tokens[i]; t.kind {
		case setOwnerID:
			node.UID = idOf(t.number)
		case setGroupID:
			node.GID = idOf(t.number)
		case setModeID:
			mode := fileMode(t.number)
			node.Mode = &mode
		case setTag:
			node.Tags = append(node.Tags[:len(node.Tags):len(node.Tags)], t.value)
		case setStaticNode:
			node.Node = t.value
			c.p.static = append(c.p.static, node)
		}
	}
}

func idOf(n int64) *uint32 {
	if n == noID {
		return nil
	}
	id := uint32(n)
	return &id
}

// fileMode turns chmod(2)'s bits into Go's.
func fileMode(bits int64) fs.FileMode {
	mode := fs.FileMode(bits & 0o777)
	if bits&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if bits&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if bits&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}
