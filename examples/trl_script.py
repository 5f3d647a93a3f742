"""ResTTrainer in a plain TRL script: one step of the embedded policy on its own tasks."""

import sys

from datasets import Dataset

from toolrest import ResTConfig, ResTTrainer, ToolReward
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples

if __name__ == "__main__":
    embedded = Recipe()  # elsewhere `model` is a name on the hub, and brings its tokenizer
    tasks = make_samples(Split.TRAIN, 16)
    trainer = ResTTrainer(
        model=load_policy(embedded),
        processing_class=load_tokenizer(embedded),
        reward_funcs=[ToolReward(dialect="rlla")],
        train_dataset=Dataset.from_list(
            [{"prompt": list(t.prompt), "ground_truth": t.ground_truth} for t in tasks]
        ),
        args=ResTConfig(
            output_dir=sys.argv[1] if len(sys.argv) > 1 else "out",
            weighting="rest",
            max_steps=1,
            num_generations=4,
            per_device_train_batch_size=8,
            max_completion_length=96,
            use_cpu=True,
            bf16=False,
            report_to="none",
        ),
    )
    trainer.train()
    trainer.save_model()
    trainer.create_model_card(model_name="tool-caller")
