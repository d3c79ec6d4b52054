"""Senseless input: one line that says what and what to do, exit code 2, nothing written."""

from attune_case import NO_GPU, OK, SMALL, USAGE, FAILED, AttuneCase, main


class Usage(AttuneCase):
    def tearDown(self):
        self.assertFalse(self.database.exists(), "a usage error made a database")

    def refuse(self, *words, says, code=USAGE):
        line = self.error(*words, code=code)
        self.assertIn(says, line)

    def test_no_command(self):
        self.refuse(says="subcommand is required")

    def test_unknown_command(self):
        self.refuse("tunes", says="tunes")

    def test_unknown_flag(self):
        self.refuse("tune", *SMALL, "--fast", says="--fast")

    def test_missing_shape(self):
        self.refuse("tune", says="--shape is required")

    def test_shapes_that_make_no_sense(self):
        for shape, says in [
            ("1,2,128", "B,H,S,D"), ("1,2,128,0", "head_dim is 0"), ("1,2,128,257", "head_dim is 257"),
            ("1,2,0,64", "q_len is 0"), ("1,2,-128,64", "q_len is -128"), ("0,2,128,64", "batch is 0"),
            ("60000,60000,268435456,256", "overflows"), ("1,2,99999999999999999999,64", "too large"),
            ("a,2,128,64", "'a'"),
        ]:
            for command in ["tune", "lookup", "space"]:
                with self.subTest(shape=shape, command=command):
                    self.refuse(command, "--shape", shape, says=says)

    def test_heads_that_no_kv_head_divides(self):
        self.refuse("tune", "--shape", "1,7,128,64", "--kv-heads", "2", says="not a multiple of kv_heads 2")

    def test_words_that_do_not_exist(self):
        for flags, says in [
            (["--dtype", "fp8"], "bf16 or fp16"), (["--layout", "sbhd"], "bhsd or bshd"),
            (["--causal=left"], "unknown mask 'left'"), (["--device", "cpu"], "auto, gpu:N or recorded:NAME"),
            (["--strategy", "magic"], "unknown strategy 'magic'"), (["--template", "magic"], "magic"),
            (["--restrict", "warps=4"], "warps"), (["--restrict", "num_warps=3"], "3"),
            (["--restrict", "num_warps"], "AXIS=VALUE"), (["--max-trials", "-1"], "max-trials"),
            (["--max-trials", "many"], "many"), (["--threads", "0"], "threads"),
        ]:
            with self.subTest(flags=flags):
                self.refuse("tune", *SMALL, *flags, says=says)

    def test_unknown_strategy_lists_what_there_is(self):
        line = self.error("tune", *SMALL, "--strategy", "magic", code=USAGE)
        self.assertIn("random", line)
        self.assertIn("pattern", line)

    def test_unknown_arch_lists_what_there_is(self):
        line = self.error("space", *SMALL, "--arch", "sm_13", code=USAGE)
        self.assertIn("sm_90a", line)

    def test_arch_and_device_exclude_each_other(self):
        self.refuse("space", *SMALL, "--arch", "sm_90a", "--device", "auto", says="--device")

    def test_require_gpu_without_one(self):
        self.refuse("tune", *SMALL, "--require-gpu", says="no usable GPU", code=NO_GPU)

    def test_gpu_by_number_without_one(self):
        self.refuse("tune", *SMALL, "--device", "gpu:0", says="gpu:0", code=NO_GPU)

    def test_shape_without_recording_lists_recordings(self):
        line = self.error("tune", "--shape", "1,3,77,64", code=FAILED)
        self.assertIn("synthetic-small", line)

    def test_unknown_recording_lists_recordings(self):
        line = self.error("tune", *SMALL, "--device", "recorded:nobody", code=FAILED)
        self.assertIn("synthetic-small", line)

    def test_recording_of_another_shape(self):
        line = self.error("tune", *SMALL, "--device", "recorded:synthetic-dense", code=FAILED)
        self.assertIn("s4096x4096", line)

    def test_sizes_for_gc(self):
        self.refuse("cache", "gc", "--max-size", "much", says="500MB")

    def test_help_and_version_end_well(self):
        self.assertIn("attune ", self.attune("--version", code=OK)[0])
        self.assertIn("ATTUNE_DB", self.attune("--help", code=OK)[0])


if __name__ == "__main__":
    main()
