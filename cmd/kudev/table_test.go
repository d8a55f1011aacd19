package main

import (
	"strings"
	"testing"
)

func TestATablesColumnsAreOneBelowTheOther(t *testing.T) {
	var list table
	list.row("name", "value", "(origin)")
	list.row("größe", "1", "x")
	list.row("", "longer value", "y")
	list.row("alone")
	var b strings.Builder
	if err := list.print(&b); err != nil {
		t.Fatal(err)
	}
	const want = "name   value         (origin)\n" +
		"größe  1             x\n" +
		"       longer value  y\n" +
		"alone\n"
	if b.String() != want {
		t.Errorf("printed\n%s, want\n%s", b.String(), want)
	}
}
