package main

import "testing"

func badSources(t *testing.T, y *yard)        {}
func badDescriptors(t *testing.T, y *yard)    {}
func badFlags(t *testing.T, y *yard)          {}
func badEngines(t *testing.T, y *yard)        {}
func interruptedBuilds(t *testing.T, y *yard) {}
