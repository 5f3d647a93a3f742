"""What the trainers of processes that tests start have in common."""

SHORT = {
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_steps": 2,
    "learning_rate": 1e-3,
    "seed": 3,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
}
