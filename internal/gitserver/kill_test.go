package gitserver

const envVictim = "SLIPWAY_TEST_VICTIM"

func victim() int { return 0 }
