"""Settings of the trainers that tests run: three short steps on a CPU, nothing saved."""


def settings(folder, **more):
    base = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 96,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "seed": 3,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
    }
    return base | more
