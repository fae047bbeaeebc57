package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strings"

	"github.com/sirupsen/logrus"
)

const (
	registryChild = "registry"
	limitChild    = "limit"
	oursSide      = "ours"
	theirsSide    = "theirs"
)

// runChild does what one of the processes that the command starts is for: serve
// the registry, "limit/NAME", or "CASE/SIDE". What was used is printed as JSON.
func runChild(ctx context.Context, o *options) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // As the command has it; for both sides.
	}
	logrus.SetLevel(logrus.WarnLevel) // Not every connection that breaks.
	data, err := loadDataset(o.data)
	if err != nil {
		return err
	}
	if o.child == registryChild {
		return serveRegistry(data)
	}
	scratch := filepath.Dir(o.output)
	e := &env{data: data, output: o.output, scratch: scratch, registry: o.registry}
	if o.child == growChild {
		stop, err := startProfile(o)
		if err != nil {
			return err
		}
		return errors.Join(grow(ctx, e, o.only), stop())
	}
	work, err := findWork(o.child)
	if err != nil {
		return err
	}
	stop, err := startProfile(o)
	if err != nil {
		return err
	}
	if err := errors.Join(work(ctx, e), stop()); err != nil {
		return err
	}
	used, err := readUsage()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(used)
}

func findWork(child string) (func(context.Context, *env) error, error) {
	name, side, _ := strings.Cut(child, "/")
	if name == limitChild {
		l, err := findLimit(side)
		return l.work, err
	}
	if name == killedChild {
		return saveAndBeKilled, nil
	}
	c, err := findCase(name)
	if err != nil {
		return nil, err
	}
	switch side {
	case oursSide:
		return c.ours, nil
	case theirsSide:
		return c.theirs, nil
	}
	return nil, fmt.Errorf("case %s has no side %q", name, side)
}

func startProfile(o *options) (stop func() error, err error) {
	name, ours := strings.CutSuffix(o.child, "/"+oursSide)
	if o.cpuProfile == "" || !ours && o.child != growChild {
		return func() error { return nil }, nil
	}
	f, err := os.Create(o.cpuProfile + "." + name + ".prof")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// usage is what a process has used, as the kernel counts it.
type usage struct {
	// Peak is the largest resident set, in bytes, the program itself included.
	Peak int64
	// Written is what the process gave to file systems to write to disk, in
	// bytes. Data that is deleted before the kernel gets round to writing it,
	// like a spool file on a machine with much memory, is counted: that is a
	// matter of the machine, not of the program.
	Written int64
}
