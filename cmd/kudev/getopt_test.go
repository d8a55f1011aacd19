package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGetoptTakesWhatGetoptLongTakes(t *testing.T) {
	options := []getoptOption{
		{id: "all", short: 'a', long: "all"},
		{id: "dry", short: 'n', long: "dry-run"},
		{id: "dry", short: 'n', long: "show"},
		{id: "config", short: 'C', long: "config", value: true},
		{id: "c", short: 'c', long: "show-config"},
		{id: "c", short: 'c', long: "showconfig"},
		{id: "ignore", short: 'i', long: "ignore-install"},
		{id: "ignore", short: 'i', long: "ignore-remove"},
		{id: "force-a", long: "force-vermagic"},
		{id: "force-b", long: "force-modversion"},
	}
	for _, c := range []struct{ args, want string }{
		{"", ""},
		{"-na x", "dry all | x"},
		{"x -a y", "all | x y"},
		{"x -- -a", "| x -a"},
		{"-Cdir x", "config=dir | x"},
		{"-C dir x", "config=dir | x"},
		{"-aC dir", "all config=dir |"},
		{"--config=dir", "config=dir |"},
		{"--config dir", "config=dir |"},
		{"--conf dir", "config=dir |"},
		{"--show", "dry |"},
		{"--showc", "c |"},
		{"--ignore", "ignore |"},
		{"-", "| -"},
		{"--force", "option '--force' is ambiguous; possibilities: '--force-vermagic' '--force-modversion'"},
		{"--all=x", "option '--all' doesn't allow an argument"},
		{"--config", "option '--config' requires an argument"},
		{"-C", "option requires an argument -- 'C'"},
		{"-az", "invalid option -- 'z'"},
		{"--zzz", "unrecognized option '--zzz'"},
	} {
		found, rest, err := getopt(options, strings.Fields(c.args), false)
		var got []string
		for _, f := range found {
			if f.value != "" {
				f.id += "=" + f.value
			}
			got = append(got, f.id)
		}
		text := strings.Join(append(append(got, "|"), rest...), " ")
		if err != nil {
			text = fmt.Sprint(err)
		}
		if c.args == "" {
			text = strings.TrimPrefix(text, "|")
		}
		if d := cmp.Diff(c.want, text); d != "" {
			t.Errorf("%q: %s", c.args, d)
		}
	}
}
